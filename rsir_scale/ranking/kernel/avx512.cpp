// AVX-512, with products of floats or, on top, of pairs of bfloat16.
//
// Lists, counts and exact scores are by hand: masks choose lanes, so that no list has a remainder of its own.
#include "avx512.h"

#ifdef RSIR_X86
#include "portable.h"

namespace rsir {
namespace {

typedef float Float16 __attribute__((vector_size(64)));

__attribute__((target("avx512f"))) void scores_avx512(const void* queries, const void* panels, int depth,
                                                     float* scores) {
  float_block<16, Float16>(queries, panels, depth, scores);
}

__attribute__((target("avx512f,avx512bf16"))) void scores_avx512_bf16(const void* queries, const void* panels,
                                                                     int depth, float* scores) {
  constexpr int Q = 8;
  const int pairs = depth / 2;
  const int* query = static_cast<const int*>(queries);
  const int* first = static_cast<const int*>(panels);
  const int* second = first + size_t(pairs) * ITEMS_PER_PANEL;
  for (int row = 0; row < ROWS_PER_BLOCK; row += Q) {
    __m512 sums[Q][2];
    for (int q = 0; q < Q; ++q) sums[q][0] = sums[q][1] = _mm512_setzero_ps();
    for (int p = 0; p < pairs; ++p) {
      const __m512bh one = (__m512bh)_mm512_loadu_si512(first + p * ITEMS_PER_PANEL);
      const __m512bh two = (__m512bh)_mm512_loadu_si512(second + p * ITEMS_PER_PANEL);
      for (int q = 0; q < Q; ++q) {
        const __m512bh pair = (__m512bh)_mm512_set1_epi32(query[size_t(row + q) * pairs + p]);
        sums[q][0] = _mm512_dpbf16_ps(sums[q][0], pair, one);
        sums[q][1] = _mm512_dpbf16_ps(sums[q][1], pair, two);
      }
    }
    for (int q = 0; q < Q; ++q) {
      _mm512_storeu_ps(scores + (row + q) * COLUMNS_PER_BLOCK, sums[q][0]);
      _mm512_storeu_ps(scores + (row + q) * COLUMNS_PER_BLOCK + 16, sums[q][1]);
    }
  }
}

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

// The lanes of sixteen from `from` that lie before `count`. Lists have room to be read past their end.
__attribute__((target("avx512f"), always_inline)) inline __mmask16 lanes_left(uint32_t from, uint32_t count) {
  return count - from < 16 ? __mmask16((1 << (count - from)) - 1) : __mmask16(0xFFFF);
}

__attribute__((target("avx512f"))) Range range_avx512(const float* scores, uint32_t count) {
  __m512 lows = _mm512_set1_ps(scores[0]), highs = lows;
  for (uint32_t j = 0; j < count; j += 16) {
    const __mmask16 there = lanes_left(j, count);
    lows = _mm512_mask_min_ps(lows, there, lows, _mm512_loadu_ps(scores + j));
    highs = _mm512_mask_max_ps(highs, there, highs, _mm512_loadu_ps(scores + j));
  }
  return {_mm512_reduce_min_ps(lows), _mm512_reduce_max_ps(highs)};
}

__attribute__((target("avx512f,popcnt"))) uint32_t count_reaching_avx512(const float* scores, uint32_t count,
                                                                         float least) {
  uint32_t reached = 0;
  for (uint32_t j = 0; j < count; j += 16)
    reached += uint32_t(__builtin_popcount(_mm512_mask_cmp_ps_mask(lanes_left(j, count), _mm512_loadu_ps(scores + j),
                                                                   _mm512_set1_ps(least), _CMP_GE_OQ)));
  return reached;
}

}  // namespace

bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

__attribute__((target("avx512f,popcnt"))) void list_avx512(const float* scores, const Block& block,
                                                           const int32_t* ids) {
  for (int half = 0; half < COLUMNS_PER_BLOCK; half += 16) {
    const __m512i items = _mm512_loadu_si512(ids + half);
    const __mmask16 real = _mm512_test_epi32_mask(items, items);
    for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
      const __m512 columns = _mm512_loadu_ps(scores + row * COLUMNS_PER_BLOCK + half);
      const __mmask16 above =
          _mm512_mask_cmp_ps_mask(real, columns, _mm512_set1_ps(block.floors[row]), _CMP_GT_OQ);
      if (above) append_sixteen(block.held[row], above, columns, items);
    }
  }
}

float reached_by_avx512(const float* scores, uint32_t count, uint32_t wanted) {
  return halve_towards<range_avx512, count_reaching_avx512>(scores, count, wanted);
}

__attribute__((target("avx512f,popcnt"))) void keep_above_avx512(Held& held, float floor) {
  const uint32_t count = held.count;
  held.count = 0;
  for (uint32_t j = 0; j < count; j += 16) {
    const __m512 scores = _mm512_loadu_ps(held.scores + j);
    const __m512i items = _mm512_loadu_si512(held.items + j);
    const __mmask16 above =
        _mm512_mask_cmp_ps_mask(lanes_left(j, count), scores, _mm512_set1_ps(floor), _CMP_GT_OQ);
    append_sixteen(held, above, scores, items);
  }
}

// Sixteen at a time, so that no sum over lanes is needed.
__attribute__((target("avx512f"))) void count_higher_avx512(const double* scores, uint32_t count, uint32_t* higher) {
  const __m512i one = _mm512_set1_epi64(1);
  for (uint32_t i = 0; i < count; i += 16) {
    const __mmask16 there = lanes_left(i, count);
    const __m512d low = _mm512_maskz_loadu_pd(__mmask8(there), scores + i);
    const __m512d high = _mm512_maskz_loadu_pd(__mmask8(there >> 8), scores + i + 8);
    __m512i low_found = _mm512_setzero_si512(), high_found = low_found;
    for (uint32_t j = 0; j < count; ++j) {
      const __m512d score = _mm512_set1_pd(scores[j]);
      low_found = _mm512_mask_add_epi64(low_found, _mm512_cmp_pd_mask(low, score, _CMP_LT_OQ), low_found, one);
      high_found = _mm512_mask_add_epi64(high_found, _mm512_cmp_pd_mask(high, score, _CMP_LT_OQ), high_found, one);
    }
    const __m512i found = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low_found)),
                                             _mm512_cvtepi64_epi32(high_found), 1);
    _mm512_mask_storeu_epi32(higher + i, there, found);
  }
}

// As `exact_score`; the lanes past a vector's end add nothing. Of the conversion, GCC 12 makes two halves.
__attribute__((target("avx512f"))) void exact_avx512(const float* vectors, int width, const double* query,
                                                    const int32_t* items, size_t count, double* scores) {
  const int whole = width / 8 * 8;
  const __mmask16 rest = __mmask16((1 << (width - whole)) - 1);
  for (size_t i = 0; i < count; ++i) {
    fetch_ahead(vectors, width, items, count, i);
    const float* item = vectors + size_t(items[i]) * width;
    __m512d sums = _mm512_setzero_pd();
    for (int k = 0; k < whole; k += 8)
      sums = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm256_loadu_ps(item + k)), _mm512_loadu_pd(query + k), sums);
    if (rest) {
      const __m256 floats = _mm512_castps512_ps256(_mm512_maskz_loadu_ps(rest, item + whole));
      sums = _mm512_fmadd_pd(_mm512_cvtps_pd(floats), _mm512_maskz_loadu_pd(__mmask8(rest), query + whole), sums);
    }
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(sums), _mm512_extractf64x4_pd(sums, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    scores[i] = _mm_cvtsd_f64(two) + _mm_cvtsd_f64(_mm_unpackhi_pd(two, two));
  }
}

const Instructions AVX512 = {
    .name = "avx512",
    .precision = Precision::float32,
    .supported = has_avx512,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_avx512, list_avx512>,
    .reached_by = reached_by_avx512,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

const Instructions AVX512_BF16 = {
    .name = "avx512-bf16",
    .precision = Precision::bfloat16,
    .supported = has_avx512_bf16,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_avx512_bf16, list_avx512>,
    .reached_by = reached_by_avx512,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

}  // namespace rsir
#endif
