// The one product that everything here is made of, in registers of any width, and memory that its vectors start well in.
#pragma once

#include <cstdint>
#include <vector>

#include "vectors.h"

namespace rsir {

// What a product's sums start from: nothing, one row for all (a bias), or rows of their own (what is there already).
struct From {
  const float* numbers = nullptr;
  int64_t stride = 0;
};

// out (Q rows, V vectors) = from + the sum over k of a[q, k] · b[k, :]; sums stay in registers.
template <typename Vector, int Q, int V>
RSIR_INLINE void tile(const float* a, int64_t a_row, int64_t a_depth, int64_t depth, const float* b, int64_t b_stride,
                      float* out, int64_t out_stride, const float* from, int64_t from_stride) {
  Vector sums[Q][V];
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v)
      sums[q][v] = from != nullptr ? load<Vector>(from + q * from_stride + v * LANES<Vector>) : Vector{};
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[V];
    for (int v = 0; v < V; ++v) row[v] = load<Vector>(b + k * b_stride + v * LANES<Vector>);
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) sums[q][v] += row[v] * a[q * a_row + k * a_depth];
  }
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v) store(out + q * out_stride + v * LANES<Vector>, sums[q][v]);
}

// The same for Q rows and for columns in whole vectors.
template <typename Vector, int Q, int V>
RSIR_INLINE void strip(const float* a, int64_t a_row, int64_t a_depth, int64_t depth, const float* b, int64_t b_stride,
                       int64_t columns, float* out, int64_t out_stride, From from) {
  constexpr int64_t WIDE = V * LANES<Vector>;
  const auto at = [&](int64_t c) { return from.numbers != nullptr ? from.numbers + c : nullptr; };
  int64_t c = 0;
  for (; c + WIDE <= columns; c += WIDE)
    tile<Vector, Q, V>(a, a_row, a_depth, depth, b + c, b_stride, out + c, out_stride, at(c), from.stride);
  for (; c < columns; c += LANES<Vector>)
    tile<Vector, Q, 1>(a, a_row, a_depth, depth, b + c, b_stride, out + c, out_stride, at(c), from.stride);
}

// The same for fewer than Q + 1 rows.
template <typename Vector, int Q, int V>
RSIR_INLINE void rest(const float* a, int64_t a_row, int64_t a_depth, int64_t rows, int64_t depth, const float* b,
                      int64_t b_stride, int64_t columns, float* out, int64_t out_stride, From from) {
  if constexpr (Q > 0) {
    if (rows == Q)
      strip<Vector, Q, V>(a, a_row, a_depth, depth, b, b_stride, columns, out, out_stride, from);
    else
      rest<Vector, Q - 1, V>(a, a_row, a_depth, rows, depth, b, b_stride, columns, out, out_stride, from);
  }
}

// The same for any number of rows. Whatever rows share a tile, a row's sums run in one order.
template <typename Vector, int Q, int V>
RSIR_INLINE void product(const float* a, int64_t a_row, int64_t a_depth, int64_t rows, int64_t depth, const float* b,
                         int64_t b_stride, int64_t columns, float* out, int64_t out_stride, From from = {}) {
  int64_t r = 0;
  const auto below = [&](int64_t row) {
    return From{from.numbers != nullptr ? from.numbers + row * from.stride : nullptr, from.stride};
  };
  for (; r + Q <= rows; r += Q)
    strip<Vector, Q, V>(a + r * a_row, a_row, a_depth, depth, b, b_stride, columns, out + r * out_stride, out_stride,
                        below(r));
  rest<Vector, Q - 1, V>(a + r * a_row, a_row, a_depth, rows - r, depth, b, b_stride, columns, out + r * out_stride,
                         out_stride, below(r));
}

struct alignas(64) Line {
  float numbers[16];
};

// Numbers that begin with a line of the cache, as all their rows do whose stride is whole lines.
class Lines {
 public:
  void resize(int64_t numbers) { lines_.resize((numbers + 15) / 16); }
  float* at(int64_t number) { return reinterpret_cast<float*>(lines_.data()) + number; }
  const float* at(int64_t number) const { return reinterpret_cast<const float*>(lines_.data()) + number; }

 private:
  std::vector<Line> lines_;
};

}  // namespace rsir
