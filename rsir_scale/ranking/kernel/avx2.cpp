// AVX2: the portable code in vectors of eight floats; only a list's columns are found by hand, eight to an instruction.
#include "sets.h"

#ifdef RSIR_X86
#include <immintrin.h>

#include "portable.h"

namespace rsir {
namespace {

typedef float Float8 __attribute__((vector_size(32)));

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

__attribute__((target("avx2,fma"))) void scores_avx2(const void* queries, const void* panels, int depth,
                                                    float* scores) {
  float_block<4, Float8>(queries, panels, depth, scores);
}

__attribute__((target("avx2"))) void list_avx2(const float* scores, const Block& block, const int32_t* ids) {
  for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
    const float* columns = scores + row * COLUMNS_PER_BLOCK;
    const __m256 floor = _mm256_set1_ps(block.floors[row]);
    uint32_t mask = 0;
    for (int v = 0; v < 4; ++v) {
      const __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(columns + v * 8), floor, _CMP_GT_OQ);
      mask |= uint32_t(_mm256_movemask_ps(above)) << (8 * v);
    }
    append(columns, ids, mask, block.held[row]);
  }
}

__attribute__((target("avx2"))) void count_higher_avx2(const double* scores, uint32_t count, uint32_t* higher) {
  count_higher(scores, count, higher);
}

__attribute__((target("avx2"))) Range range_avx2(const float* scores, uint32_t count) { return range(scores, count); }

__attribute__((target("avx2"))) uint32_t count_reaching_avx2(const float* scores, uint32_t count, float least) {
  return count_reaching(scores, count, least);
}

__attribute__((target("avx2,fma"))) void exact_avx2(const float* vectors, int width, const double* query,
                                                    const int32_t* items, size_t count, double* scores) {
  exact_scores(vectors, width, query, items, count, scores);
}

}  // namespace

const Instructions AVX2 = {
    .name = "avx2",
    .precision = Precision::float32,
    .supported = has_avx2,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_avx2, list_avx2>,
    .reached_by = halve_towards<range_avx2, count_reaching_avx2>,
    .keep_above = keep_above,
    .exact = exact_avx2,
    .count_higher = count_higher_avx2,
};

}  // namespace rsir
#endif
