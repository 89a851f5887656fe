// What the sets on top of AVX-512 take from it: all but the products, since lists and exact scores are floats in each.
#pragma once

#include "sets.h"

#ifdef RSIR_X86
#include <immintrin.h>

namespace rsir {

bool has_avx512();
void list_avx512(const float* scores, const Block& block, const int32_t* ids);
float reached_by_avx512(const float* scores, uint32_t count, uint32_t wanted);
void keep_above_avx512(Held& held, float floor);
void exact_avx512(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                  double* scores);
void count_higher_avx512(const double* scores, uint32_t count, uint32_t* higher);

// Appends some of sixteen scores. In a register, then stored whole: compressing stores are microcode on some
// processors, a hundred cycles each.
__attribute__((target("avx512f,popcnt"), always_inline)) inline void append_sixteen(Held& held, __mmask16 chosen,
                                                                                   __m512 scores, __m512i items) {
  _mm512_storeu_ps(held.scores + held.count, _mm512_maskz_compress_ps(chosen, scores));
  _mm512_storeu_si512(held.items + held.count, _mm512_maskz_compress_epi32(chosen, items));
  held.count += uint32_t(__builtin_popcount(chosen));
}

}  // namespace rsir
#endif
