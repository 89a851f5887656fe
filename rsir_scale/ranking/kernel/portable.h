// What the sets of instructions share, for any processor: vectors are the compiler's own, of a size that a set chooses.
//
// What is always inlined takes the instructions of the function that it is inlined in, so a set compiles it anew by
// calling it from a function with a `target`. The rest is compiled for any processor, whichever set uses it.
#pragma once

#include "instructions.h"

namespace rsir {

inline void nothing() {}

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

inline __attribute__((always_inline)) void count_higher(const double* scores, uint32_t count, uint32_t* higher) {
  for (uint32_t i = 0; i < count; ++i) {
    const double score = scores[i];
    int64_t found = 0;  // as wide as a score, so that compilers keep it in a vector
    for (uint32_t j = 0; j < count; ++j) found += scores[j] > score;
    higher[i] = uint32_t(found);
  }
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

inline __attribute__((always_inline)) uint32_t count_reaching(const float* scores, uint32_t count, float least) {
  uint32_t reached = 0;
  for (uint32_t j = 0; j < count; ++j) reached += scores[j] >= least;
  return reached;
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

inline void keep_above(Held& held, float floor) {
  uint32_t kept = 0;
  for (uint32_t j = 0; j < held.count; ++j) {
    const float score = held.scores[j];
    held.scores[kept] = score;
    held.items[kept] = held.items[j];
    kept += score > floor;
  }
  held.count = kept;
}

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

}  // namespace rsir
