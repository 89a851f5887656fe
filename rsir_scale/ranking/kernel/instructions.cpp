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
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

inline __attribute__((always_inline)) void exact_scores(const float* vectors, int width, const double* query,
                                                        const int32_t* items, size_t count, double* scores) {
  constexpr size_t AHEAD = 4;
  for (size_t i = 0; i < count; ++i) {
    if (i + AHEAD < count)
      for (int k = 0; k < width; k += 16) __builtin_prefetch(vectors + size_t(items[i + AHEAD]) * width + k);
    scores[i] = exact_score(vectors + size_t(items[i]) * width, query, width);
  }
}

void exact_generic(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                   double* scores) {
  exact_scores(vectors, width, query, items, count, scores);
}

inline __attribute__((always_inline)) float halve_towards(const float* scores, uint32_t count, uint32_t wanted) {
  constexpr int HALVINGS = 8;
  // Sixteen running extremes, which compilers keep in vectors; one would be a chain.
  float lows[16], highs[16];
  for (int lane = 0; lane < 16; ++lane) lows[lane] = highs[lane] = scores[0];
  uint32_t i = 0;
  for (; i + 16 <= count; i += 16)
    for (int lane = 0; lane < 16; ++lane) {
      const float score = scores[i + lane];
      lows[lane] = score < lows[lane] ? score : lows[lane];
      highs[lane] = score > highs[lane] ? score : highs[lane];
    }
  float low = scores[0], high = scores[0];
  for (; i < count; ++i) {
    low = scores[i] < low ? scores[i] : low;
    high = scores[i] > high ? scores[i] : high;
  }
  for (int lane = 0; lane < 16; ++lane) {
    low = lows[lane] < low ? lows[lane] : low;
    high = highs[lane] > high ? highs[lane] : high;
  }
  for (int halving = 0; halving < HALVINGS && low < high; ++halving) {
    const float middle = low + (high - low) / 2;
    uint32_t reached = 0;
    for (uint32_t j = 0; j < count; ++j) reached += scores[j] >= middle;
    if (reached == wanted) return middle;
    (reached > wanted ? low : high) = middle;
  }
  return low;
}

float reached_by_generic(const float* scores, uint32_t count, uint32_t wanted) {
  return halve_towards(scores, count, wanted);
}

inline __attribute__((always_inline)) uint32_t append_columns(const float* scores, const int32_t* items, uint32_t mask,
                                                              float* held_scores, int32_t* held_items) {
  uint32_t count = 0;
  for (; mask; mask &= mask - 1, ++count) {
    const int c = __builtin_ctz(mask);
    held_scores[count] = scores[c];
    held_items[count] = items[c];
  }
  return count;
}

uint32_t append_generic(const float* scores, const int32_t* items, uint32_t mask, float* held_scores,
                        int32_t* held_items) {
  return append_columns(scores, items, mask, held_scores, held_items);
}

uint32_t above_one_generic(const float* scores, float floor) {
  uint32_t mask = 0;
  for (int c = 0; c < COLUMNS_PER_BLOCK; ++c) mask |= uint32_t(scores[c] > floor) << c;
  return mask;
}

typedef float Float4 __attribute__((vector_size(16)));

void block_generic(const void* queries, const void* panels, int depth, float* scores) {
  float_block<2, Float4>(queries, panels, depth, scores);
}

uint32_t above_generic(const float* scores, const float* floors, uint32_t* masks) {
  uint32_t any = 0;
  for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
    masks[row] = above_one_generic(scores + row * COLUMNS_PER_BLOCK, floors[row]);
    any |= uint32_t(masks[row] != 0) << row;
  }
  return any;
}

const Instructions GENERIC = {
    .name = "generic",
    .precision = Precision::float32,
    .supported = always,
    .begin = nothing,
    .end = nothing,
    .block = block_generic,
    .above = above_generic,
    .above_one = above_one_generic,
    .append = append_generic,
    .reached_by = reached_by_generic,
    .exact = exact_generic,
};

#ifdef RSIR_X86

// ---- AVX2 ----

typedef float Float8 __attribute__((vector_size(32)));

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

__attribute__((target("avx2,fma"))) void block_avx2(const void* queries, const void* panels, int depth,
                                                    float* scores) {
  float_block<4, Float8>(queries, panels, depth, scores);
}

__attribute__((target("avx2"))) uint32_t above_one_avx2(const float* scores, float floor) {
  uint32_t mask = 0;
  for (int v = 0; v < 4; ++v) {
    const __m256 above = _mm256_cmp_ps(_mm256_loadu_ps(scores + v * 8), _mm256_set1_ps(floor), _CMP_GT_OQ);
    mask |= uint32_t(_mm256_movemask_ps(above)) << (8 * v);
  }
  return mask;
}

__attribute__((target("avx2"))) uint32_t above_avx2(const float* scores, const float* floors, uint32_t* masks) {
  uint32_t any = 0;
  for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
    masks[row] = above_one_avx2(scores + row * COLUMNS_PER_BLOCK, floors[row]);
    any |= uint32_t(masks[row] != 0) << row;
  }
  return any;
}

__attribute__((target("avx2"))) float reached_by_avx2(const float* scores, uint32_t count, uint32_t wanted) {
  return halve_towards(scores, count, wanted);
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
    .block = block_avx2,
    .above = above_avx2,
    .above_one = above_one_avx2,
    .append = append_generic,
    .reached_by = reached_by_avx2,
    .exact = exact_avx2,
};

// ---- AVX-512 ----

typedef float Float16 __attribute__((vector_size(64)));

bool has_avx512() { return __builtin_cpu_supports("avx512f"); }

__attribute__((target("avx512f"))) void block_avx512(const void* queries, const void* panels, int depth,
                                                     float* scores) {
  float_block<16, Float16>(queries, panels, depth, scores);
}

__attribute__((target("avx512f"))) uint32_t above_one_avx512(const float* scores, float floor) {
  const __m512 floors = _mm512_set1_ps(floor);
  const uint32_t low = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores), floors, _CMP_GT_OQ);
  const uint32_t high = _mm512_cmp_ps_mask(_mm512_loadu_ps(scores + 16), floors, _CMP_GT_OQ);
  return low | high << 16;
}

__attribute__((target("avx512f"))) uint32_t above_avx512(const float* scores, const float* floors, uint32_t* masks) {
  uint32_t any = 0;
  for (int row = 0; row < ROWS_PER_BLOCK; ++row) {
    masks[row] = above_one_avx512(scores + row * COLUMNS_PER_BLOCK, floors[row]);
    any |= uint32_t(masks[row] != 0) << row;
  }
  return any;
}

__attribute__((target("avx512f,popcnt"))) uint32_t append_avx512(const float* scores, const int32_t* items, uint32_t mask,
                                                          float* held_scores, int32_t* held_items) {
  uint32_t count = 0;
  for (int half = 0; half < 2; ++half) {
    const __mmask16 chosen = __mmask16(mask >> (16 * half));
    if (chosen == 0) continue;
    // In a register, then stored whole: compressing stores are microcode on some processors, a hundred cycles each.
    const __m512 score = _mm512_maskz_compress_ps(chosen, _mm512_loadu_ps(scores + 16 * half));
    const __m512i item = _mm512_maskz_compress_epi32(chosen, _mm512_loadu_si512(items + 16 * half));
    _mm512_storeu_ps(held_scores + count, score);
    _mm512_storeu_si512(held_items + count, item);
    count += uint32_t(__builtin_popcount(chosen));
  }
  return count;
}

__attribute__((target("avx512f"))) float reached_by_avx512(const float* scores, uint32_t count, uint32_t wanted) {
  return halve_towards(scores, count, wanted);
}

__attribute__((target("avx512f"))) void exact_avx512(const float* vectors, int width, const double* query,
                                                    const int32_t* items, size_t count, double* scores) {
  exact_scores(vectors, width, query, items, count, scores);
}

const Instructions AVX512 = {
    .name = "avx512",
    .precision = Precision::float32,
    .supported = has_avx512,
    .begin = nothing,
    .end = nothing,
    .block = block_avx512,
    .above = above_avx512,
    .above_one = above_one_avx512,
    .append = append_avx512,
    .reached_by = reached_by_avx512,
    .exact = exact_avx512,
};

// ---- AVX-512 with bfloat16 dot products ----

bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

__attribute__((target("avx512f,avx512bf16"))) void block_avx512_bf16(const void* queries, const void* panels,
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
    .block = block_avx512_bf16,
    .above = above_avx512,
    .above_one = above_one_avx512,
    .append = append_avx512,
    .reached_by = reached_by_avx512,
    .exact = exact_avx512,
};

// ---- AVX-512 with dot products of bytes ----

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// Items are bytes from 0, 128 above their steps, since the instruction multiplies unsigned with signed ones; a query
// ends with what that adds to its sums, negated, and its scale. Sums are whole numbers, so they are exact.
__attribute__((target("avx512f,avx512vnni"))) void block_avx512_vnni(const void* queries, const void* panels,
                                                                     int depth, float* scores) {
  constexpr int Q = 8;
  const int quads = depth / 4, stride = quads + 2, panel = quads * ITEMS_PER_PANEL;
  const int* query = static_cast<const int*>(queries);
  const int* first = static_cast<const int*>(panels);
  const int* second = first + panel + ITEMS_PER_PANEL;
  const __m512 first_scales = _mm512_loadu_ps(first + panel), second_scales = _mm512_loadu_ps(second + panel);
  for (int row = 0; row < ROWS_PER_BLOCK; row += Q) {
    const int* rows = query + size_t(row) * stride;
    __m512i sums[Q][2];
    for (int q = 0; q < Q; ++q) sums[q][0] = sums[q][1] = _mm512_set1_epi32(rows[q * stride + quads]);
    for (int p = 0; p < quads; ++p) {
      const __m512i one = _mm512_loadu_si512(first + p * ITEMS_PER_PANEL);
      const __m512i two = _mm512_loadu_si512(second + p * ITEMS_PER_PANEL);
      for (int q = 0; q < Q; ++q) {
        const __m512i quad = _mm512_set1_epi32(rows[q * stride + p]);
        sums[q][0] = _mm512_dpbusd_epi32(sums[q][0], one, quad);
        sums[q][1] = _mm512_dpbusd_epi32(sums[q][1], two, quad);
      }
    }
    for (int q = 0; q < Q; ++q) {
      float scale;
      __builtin_memcpy(&scale, rows + q * stride + quads + 1, sizeof scale);
      const __m512 scales = _mm512_set1_ps(scale);
      float* out = scores + (row + q) * COLUMNS_PER_BLOCK;
      _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[q][0]), first_scales), scales));
      _mm512_storeu_ps(out + 16, _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[q][1]), second_scales), scales));
    }
  }
}

const Instructions AVX512_VNNI = {
    .name = "avx512-vnni",
    .precision = Precision::int8,
    .supported = has_avx512_vnni,
    .begin = nothing,
    .end = nothing,
    .block = block_avx512_vnni,
    .above = above_avx512,
    .above_one = above_one_avx512,
    .append = append_avx512,
    .reached_by = reached_by_avx512,
    .exact = exact_avx512,
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

__attribute__((target("amx-tile,amx-bf16"))) void block_amx(const void* queries, const void* panels, int depth,
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
    .block = block_amx,
    .above = above_avx512,
    .above_one = above_one_avx512,
    .append = append_avx512,
    .reached_by = reached_by_avx512,
    .exact = exact_avx512,
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
