// AVX-512 with dot products of bytes, four to a lane: a scan of its own, since only sums that are listed become scores.
//
// Items are bytes from 0, 128 above their steps, since the instruction multiplies unsigned with signed ones; a query's
// sums begin with what that adds to them, negated. Sums are whole numbers, so they are exact.
#include "avx512.h"

#ifdef RSIR_X86
#include "portable.h"

namespace rsir {
namespace {

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// What the sums of sixteen rows must exceed for their scores to exceed the rows' floors, or a little less. `steps` are
// the scales of the products.
__attribute__((target("avx512f"), always_inline)) inline __m512i least_sums(__m512 floors, __m512 steps) {
  constexpr float MOST = 1 << 30;  // leaves room for the sums of vectors of 32,768 values
  const __m512 ratio = _mm512_div_ps(floors, steps);
  // Zero over zero is not a number, of which the second operand is returned: such a row lists everything.
  const __m512 bounded = _mm512_min_ps(_mm512_max_ps(ratio, _mm512_set1_ps(-MOST)), _mm512_set1_ps(MOST));
  // More than all roundings, here and in the scores.
  const __m512 slack = _mm512_fmadd_ps(_mm512_abs_ps(bounded), _mm512_set1_ps(0x1p-21f), _mm512_set1_ps(1));
  return _mm512_cvt_roundps_epi32(_mm512_sub_ps(bounded, slack), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

// As _mm512_dpbusd_epi32, in place: of that, GCC 12 makes a copy of each sum at each step.
__attribute__((target("avx512f,avx512vnni"), always_inline)) inline void add_products(__m512i& sums, __m512i items,
                                                                                     __m512i query) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(items), "v"(query));
}

// The rows that are multiplied at once: their sums with both panels stay in registers.
constexpr int ROWS_PER_TILE = 8;

// A block's rows, and what holds for them against one pair.
struct alignas(64) ByteRows {
  int32_t excess[ROWS_PER_BLOCK];
  float steps[ROWS_PER_BLOCK];
  int32_t least[ROWS_PER_BLOCK];  // what their sums must exceed
  int32_t start[ROWS_PER_BLOCK];  // where their sums begin, so that they need but exceed 0

  ByteRows(const int* queries, int stride) {
    for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
      QueryTail tail;
      __builtin_memcpy(&tail, queries + (row + 1) * stride - sizeof tail / sizeof(int), sizeof tail);
      excess[row] = tail.excess;
      steps[row] = tail.step;
    }
  }

  __attribute__((target("avx512f"), always_inline)) inline void meet(const float* floors, float pair_step) {
    for (int row = 0; row < ROWS_PER_BLOCK; row += 16) {
      const __m512 scales = _mm512_mul_ps(_mm512_load_ps(steps + row), _mm512_set1_ps(pair_step));
      const __m512i sums = least_sums(_mm512_loadu_ps(floors + row), scales);
      _mm512_store_si512(least + row, sums);
      _mm512_store_si512(start + row, _mm512_sub_epi32(_mm512_load_si512(excess + row), sums));
    }
  }
};

// Sixteen sums, given above the least one, as scores. One step after the other: their product may be too great a number.
__attribute__((target("avx512f"), always_inline)) inline __m512 to_scores(const int32_t* above, int32_t least,
                                                                         float query_step, float pair_step) {
  const __m512i sums = _mm512_add_epi32(_mm512_load_si512(above), _mm512_set1_epi32(least));
  const __m512 in_steps = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(query_step));
  return _mm512_mul_ps(in_steps, _mm512_set1_ps(pair_step));
}

// Lists the items whose sums exceed 0. One loop over the rows that have any: the processor could not foresee a branch
// for each row, nor for each panel.
__attribute__((target("avx512f,popcnt"), always_inline)) inline void list_sums(const __m512i (&sums)[ROWS_PER_TILE][2],
                                                                              const ByteRows& rows, float pair_step,
                                                                              const int32_t* ids, int first_row,
                                                                              Held* held) {
  alignas(64) int32_t above[ROWS_PER_TILE][COLUMNS_PER_BLOCK];
  uint32_t masks[ROWS_PER_TILE], hits = 0;
  const __m512i one_items = _mm512_loadu_si512(ids), two_items = _mm512_loadu_si512(ids + ITEMS_PER_PANEL);
  const __mmask16 one_real = _mm512_test_epi32_mask(one_items, one_items);
  const __mmask16 two_real = _mm512_test_epi32_mask(two_items, two_items);
#pragma GCC unroll 8
  for (int q = 0; q < ROWS_PER_TILE; ++q) {
    const uint32_t in_one = _mm512_mask_cmpgt_epi32_mask(one_real, sums[q][0], _mm512_setzero_si512());
    const uint32_t in_two = _mm512_mask_cmpgt_epi32_mask(two_real, sums[q][1], _mm512_setzero_si512());
    masks[q] = in_one | in_two << 16;
    hits |= uint32_t(masks[q] != 0) << q;
    _mm512_store_si512(above[q], sums[q][0]);
    _mm512_store_si512(above[q] + ITEMS_PER_PANEL, sums[q][1]);
  }
  for (; hits; hits &= hits - 1) {
    const int q = __builtin_ctz(hits), row = first_row + q;
    const float step = rows.steps[row];
    const int32_t least = rows.least[row];
    append_sixteen(held[row], __mmask16(masks[q]), to_scores(above[q], least, step, pair_step), one_items);
    append_sixteen(held[row], __mmask16(masks[q] >> 16),
                   to_scores(above[q] + ITEMS_PER_PANEL, least, step, pair_step), two_items);
  }
}

__attribute__((target("avx512f,avx512vnni,popcnt"))) void scan_avx512_vnni(const Block& block) {
  const int quads = block.depth / 4, stride = quads + int(sizeof(QueryTail) / sizeof(int));
  const int* queries = static_cast<const int*>(block.queries);
  ByteRows rows(queries, stride);
  for (int p = 0; p < block.pairs; ++p) {
    const int* first = reinterpret_cast<const int*>(block.panels + size_t(p) * block.pair_bytes);
    const int* second = first + quads * ITEMS_PER_PANEL;
    const float pair_step = reinterpret_cast<const PairTail*>(second + quads * ITEMS_PER_PANEL)->step;
    rows.meet(block.floors, pair_step);
    for (int row = 0; row < ROWS_PER_BLOCK; row += ROWS_PER_TILE) {
      const int* query = queries + size_t(row) * stride;
      __m512i sums[ROWS_PER_TILE][2];
#pragma GCC unroll 8
      for (int q = 0; q < ROWS_PER_TILE; ++q) sums[q][0] = sums[q][1] = _mm512_set1_epi32(rows.start[row + q]);
      for (int k = 0; k < quads; ++k) {
        const __m512i one = _mm512_loadu_si512(first + k * ITEMS_PER_PANEL);
        const __m512i two = _mm512_loadu_si512(second + k * ITEMS_PER_PANEL);
#pragma GCC unroll 8
        for (int q = 0; q < ROWS_PER_TILE; ++q) {
          const __m512i quad = _mm512_set1_epi32(query[q * stride + k]);
          add_products(sums[q][0], one, quad);
          add_products(sums[q][1], two, quad);
        }
      }
      __m512i greatest = sums[0][0];
#pragma GCC unroll 8
      for (int q = 0; q < ROWS_PER_TILE; ++q)
        greatest = _mm512_max_epi32(greatest, _mm512_max_epi32(sums[q][0], sums[q][1]));
      if (_mm512_cmpgt_epi32_mask(greatest, _mm512_setzero_si512()))
        list_sums(sums, rows, pair_step, block.ids + p * COLUMNS_PER_BLOCK, row, block.held);
    }
  }
}

}  // namespace

const Instructions AVX512_VNNI = {
    .name = "avx512-vnni",
    .precision = Precision::int8,
    .supported = has_avx512_vnni,
    .begin = nothing,
    .end = nothing,
    .scan = scan_avx512_vnni,
    .reached_by = reached_by_avx512,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

}  // namespace rsir
#endif
