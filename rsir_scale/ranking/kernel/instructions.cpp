#include "instructions.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define RSIR_X86 1
#include <cpuid.h>
#include <immintrin.h>
#endif
#if defined(RSIR_X86) && defined(__linux__)
#define RSIR_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rsir {
namespace {

bool always() { return true; }
void nothing() {}

// ---- any processor ----

// Q rows against two panels, with sums that the compiler keeps in registers.
template <int Q, typename Vector>
inline __attribute__((always_inline)) void rows_times_panels(const float* queries, const float* panels, int depth,
                                                             float* scores) {
  constexpr int LANES = sizeof(Vector) / sizeof(float);
  constexpr int VECTORS = ITEMS_PER_PANEL / LANES;
  for (int panel = 0; panel < 2; ++panel) {
    const float* items = panels + size_t(panel) * depth * ITEMS_PER_PANEL;
    Vector sums[Q][VECTORS] = {};
    for (int k = 0; k < depth; ++k) {
      Vector column[VECTORS];
      for (int v = 0; v < VECTORS; ++v)
        __builtin_memcpy(&column[v], items + k * ITEMS_PER_PANEL + v * LANES, sizeof(Vector));
      for (int q = 0; q < Q; ++q)
        for (int v = 0; v < VECTORS; ++v) sums[q][v] += column[v] * queries[size_t(q) * depth + k];
    }
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < VECTORS; ++v)
        __builtin_memcpy(scores + q * COLUMNS_PER_BLOCK + panel * ITEMS_PER_PANEL + v * LANES, &sums[q][v],
                         sizeof(Vector));
  }
}

template <int Q, typename Vector>
inline __attribute__((always_inline)) void float_block(const void* queries, const void* panels, int depth,
                                                       float* scores) {
  for (int row = 0; row < ROWS_PER_BLOCK; row += Q)
    rows_times_panels<Q, Vector>(static_cast<const float*>(queries) + size_t(row) * depth,
                                 static_cast<const float*>(panels), depth, scores + row * COLUMNS_PER_BLOCK);
}

// Lane l sums the products at depths l, l + 8, …; a product of two floats is exact in a double, so fused or not is one.
inline __attribute__((always_inline)) double exact_score(const float* item, const double* query, int width) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef double Lanes __attribute__((vector_size(64)));
  typedef double Half __attribute__((vector_size(32)));
  Lanes sums = {};
  int k = 0;
  for (; k + 8 <= width; k += 8) {
    Eight floats;
    Lanes weights;
    __builtin_memcpy(&floats, item + k, sizeof floats);
    __builtin_memcpy(&weights, query + k, sizeof weights);
    sums += __builtin_convertvector(floats, Lanes) * weights;
  }
  for (int lane = 0; k < width; ++k, ++lane) sums[lane] += double(item[k]) * query[k];
  Half low, high;
  __builtin_memcpy(&low, &sums, sizeof low);
  __builtin_memcpy(&high, reinterpret_cast<const char*>(&sums) + sizeof low, sizeof high);
  const Half halves = low + high;
  return (halves[0] + halves[2]) + (halves[1] + halves[3]);
}

// Asks for an item's vector, some items before its turn.
inline __attribute__((always_inline)) void fetch_ahead(const float* vectors, int width, const int32_t* items,
                                                       size_t count, size_t i) {
  constexpr size_t AHEAD = 8;
  if (i + AHEAD >= count) return;
  for (int k = 0; k < width; k += 16) __builtin_prefetch(vectors + size_t(items[i + AHEAD]) * width + k);
}

inline __attribute__((always_inline)) void exact_scores(const float* vectors, int width, const double* query,
                                                        const int32_t* items, size_t count, double* scores) {
  for (size_t i = 0; i < count; ++i) {
    fetch_ahead(vectors, width, items, count, i);
    scores[i] = exact_score(vectors + size_t(items[i]) * width, query, width);
  }
}

void exact_generic(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                   double* scores) {
  exact_scores(vectors, width, query, items, count, scores);
}

inline __attribute__((always_inline)) void count_higher(const double* scores, uint32_t count, uint32_t* higher) {
  for (uint32_t i = 0; i < count; ++i) {
    const double score = scores[i];
    int64_t found = 0;  // as wide as a score, so that compilers keep it in a vector
    for (uint32_t j = 0; j < count; ++j) found += scores[j] > score;
    higher[i] = uint32_t(found);
  }
}

void count_higher_generic(const double* scores, uint32_t count, uint32_t* higher) {
  count_higher(scores, count, higher);
}

struct Range {
  float low, high;
};

// The least and the greatest. Sixteen of each run on, which compilers keep in vectors; one would be a chain.
inline __attribute__((always_inline)) Range range(const float* scores, uint32_t count) {
  float lows[16], highs[16];
  for (int lane = 0; lane < 16; ++lane) lows[lane] = highs[lane] = scores[0];
  uint32_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int lane = 0; lane < 16; ++lane) {
      const float score = scores[i + lane];
      lows[lane] = score < lows[lane] ? score : lows[lane];
      highs[lane] = score > highs[lane] ? score : highs[lane];
    }
  for (; i < count; ++i) {
    lows[0] = scores[i] < lows[0] ? scores[i] : lows[0];
    highs[0] = scores[i] > highs[0] ? scores[i] : highs[0];
  }
  Range all{lows[0], highs[0]};
  for (int lane = 1; lane < 16; ++lane) {
    all.low = lows[lane] < all.low ? lows[lane] : all.low;
    all.high = highs[lane] > all.high ? highs[lane] : all.high;
  }
  return all;
}

Range range_generic(const float* scores, uint32_t count) { return range(scores, count); }

inline __attribute__((always_inline)) uint32_t count_reaching(const float* scores, uint32_t count, float least) {
  uint32_t reached = 0;
  for (uint32_t j = 0; j < count; ++j) reached += scores[j] >= least;
  return reached;
}

uint32_t count_reaching_generic(const float* scores, uint32_t count, float least) {
  return count_reaching(scores, count, least);
}

template <Range (*RANGE)(const float* scores, uint32_t count),
          uint32_t (*REACHING)(const float* scores, uint32_t count, float least)>
float halve_towards(const float* scores, uint32_t count, uint32_t wanted) {
  constexpr int HALVINGS = 8;
  auto [low, high] = RANGE(scores, count);
  for (int halving = 0; halving < HALVINGS && low < high; ++halving) {
    const float middle = low + (high - low) / 2;
    const uint32_t reached = REACHING(scores, count, middle);
    if (reached == wanted) return middle;
    (reached > wanted ? low : high) = middle;
  }
  return low;
}

inline __attribute__((always_inline)) void keep_above(Held& held, float floor) {
  uint32_t kept = 0;
  for (uint32_t j = 0; j < held.count; ++j) {
    const float score = held.scores[j];
    held.scores[kept] = score;
    held.items[kept] = held.items[j];
    kept += score > floor;
  }
  held.count = kept;
}

void keep_above_generic(Held& held, float floor) { keep_above(held, floor); }

// Appends the columns in `mask` to a list.
inline __attribute__((always_inline)) void append(const float* scores, const int32_t* ids, uint32_t mask,
                                                  Held& held) {
  for (; mask; mask &= mask - 1) {
    const int c = __builtin_ctz(mask);
    if (ids[c] == 0) continue;
    held.scores[held.count] = scores[c];
    held.items[held.count++] = ids[c];
  }
}

uint32_t above(const float* scores, float floor) {
  uint32_t mask = 0;
  for (int c = 0; c < COLUMNS_PER_BLOCK; ++c) mask |= uint32_t(scores[c] > floor) << c;
  return mask;
}

void list_generic(const float* scores, const Block& block, const int32_t* ids) {
  for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
    const float* columns = scores + row * COLUMNS_PER_BLOCK;
    append(columns, ids, above(columns, block.floors[row]), block.held[row]);
  }
}

// A scan of two parts: all scores of a pair, then which of them are listed.
template <void (*SCORE)(const void* queries, const void* panels, int depth, float* scores),
          void (*LIST)(const float* scores, const Block& block, const int32_t* ids)>
void scan_in_two(const Block& block) {
  alignas(64) float scores[ROWS_PER_BLOCK * COLUMNS_PER_BLOCK];
  for (int p = 0; p < block.pairs; ++p) {
    SCORE(block.queries, block.panels + size_t(p) * block.pair_bytes, block.depth, scores);
    LIST(scores, block, block.ids + size_t(p) * COLUMNS_PER_BLOCK);
  }
}

typedef float Float4 __attribute__((vector_size(16)));

void scores_generic(const void* queries, const void* panels, int depth, float* scores) {
  float_block<2, Float4>(queries, panels, depth, scores);
}

const Instructions GENERIC = {
    .name = "generic",
    .precision = Precision::float32,
    .supported = always,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_generic, list_generic>,
    .reached_by = halve_towards<range_generic, count_reaching_generic>,
    .keep_above = keep_above_generic,
    .exact = exact_generic,
    .count_higher = count_higher_generic,
};

#ifdef RSIR_X86

// ---- AVX2 ----

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

const Instructions AVX2 = {
    .name = "avx2",
    .precision = Precision::float32,
    .supported = has_avx2,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_avx2, list_avx2>,
    .reached_by = halve_towards<range_avx2, count_reaching_avx2>,
    .keep_above = keep_above_generic,
    .exact = exact_avx2,
    .count_higher = count_higher_avx2,
};

// ---- AVX-512 ----

typedef float Float16 __attribute__((vector_size(64)));

bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

__attribute__((target("avx512f"))) void scores_avx512(const void* queries, const void* panels, int depth,
                                                     float* scores) {
  float_block<16, Float16>(queries, panels, depth, scores);
}

// Appends some of sixteen scores. In a register, then stored whole: compressing stores are microcode on some
// processors, a hundred cycles each.
__attribute__((target("avx512f,popcnt"), always_inline)) inline void append_sixteen(Held& held, __mmask16 chosen,
                                                                                   __m512 scores, __m512i items) {
  _mm512_storeu_ps(held.scores + held.count, _mm512_maskz_compress_ps(chosen, scores));
  _mm512_storeu_si512(held.items + held.count, _mm512_maskz_compress_epi32(chosen, items));
  held.count += uint32_t(__builtin_popcount(chosen));
}

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

// The lanes of sixteen from `from` that lie before `count`. Lists have room to be read past their end.
__attribute__((target("avx512f"), always_inline)) inline __mmask16 lanes_left(uint32_t from, uint32_t count) {
  return count - from < 16 ? __mmask16((1 << (count - from)) - 1) : __mmask16(0xFFFF);
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
    .reached_by = halve_towards<range_avx512, count_reaching_avx512>,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

// ---- AVX-512 with bfloat16 dot products ----

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

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

const Instructions AVX512_BF16 = {
    .name = "avx512-bf16",
    .precision = Precision::bfloat16,
    .supported = has_avx512_bf16,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_avx512_bf16, list_avx512>,
    .reached_by = halve_towards<range_avx512, count_reaching_avx512>,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

// ---- AVX-512 with dot products of bytes ----

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// Items are bytes from 0, 128 above their steps, since the instruction multiplies unsigned with signed ones; a query's
// sums begin with what that adds to them, negated. Sums are whole numbers, so they are exact.

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

const Instructions AVX512_VNNI = {
    .name = "avx512-vnni",
    .precision = Precision::int8,
    .supported = has_avx512_vnni,
    .begin = nothing,
    .end = nothing,
    .scan = scan_avx512_vnni,
    .reached_by = halve_towards<range_avx512, count_reaching_avx512>,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

#endif
#ifdef RSIR_AMX

// ---- AMX: tiles of 16 x 16 sums ----

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool bf16 = d >> 22 & 1, tile = d >> 24 & 1;
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  return bf16 && tile && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

__attribute__((target("amx-tile"))) void begin_amx() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  // GCC 12 takes the instruction to read 8 bytes only, and would drop the other stores.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

__attribute__((target("amx-tile"))) void end_amx() { _tile_release(); }

__attribute__((target("amx-tile,amx-bf16"))) void scores_amx(const void* queries, const void* panels, int depth,
                                                            float* scores) {
  const char* upper = static_cast<const char*>(queries);
  const size_t stride = size_t(depth) * 2;
  const char* lower = upper + 16 * stride;
  const char* first = static_cast<const char*>(panels);
  const char* second = first + size_t(depth) * ITEMS_PER_PANEL * 2;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int k = 0; k < depth; k += 32) {
    _tile_loadd(4, upper + k * 2, stride);
    _tile_loadd(6, first + k * 32, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, second + k * 32, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower + k * 2, stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  constexpr int BYTES = COLUMNS_PER_BLOCK * sizeof(float);
  _tile_stored(0, scores, BYTES);
  _tile_stored(1, scores + 16, BYTES);
  _tile_stored(2, scores + 16 * COLUMNS_PER_BLOCK, BYTES);
  _tile_stored(3, scores + 16 * COLUMNS_PER_BLOCK + 16, BYTES);
}

const Instructions AMX = {
    .name = "amx-bf16",
    .precision = Precision::bfloat16,
    .supported = has_amx,
    .begin = begin_amx,
    .end = end_amx,
    .scan = scan_in_two<scores_amx, list_avx512>,
    .reached_by = halve_towards<range_avx512, count_reaching_avx512>,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

#endif
}  // namespace

const Instructions* const INSTRUCTIONS[] = {
#ifdef RSIR_AMX
    &AMX,
#endif
#ifdef RSIR_X86
    &AVX512_VNNI, &AVX512_BF16, &AVX512, &AVX2,
#endif
    &GENERIC,
};
const size_t INSTRUCTIONS_COUNT = sizeof(INSTRUCTIONS) / sizeof(INSTRUCTIONS[0]);

}  // namespace rsir
