// The one product that the loss is made of, in registers of any width, and memory that its vectors start well in.
#pragma once

#include <cstdint>
#include <vector>

#include "../../models/kernel/vectors.h"

namespace rsir {

// out (Q rows, V vectors) = or += the sum over k of a[q, k] · b[k, :]; sums stay in registers.
template <typename Vector, int Q, int V>
RSIR_INLINE void tile(const float* a, int64_t a_row, int64_t a_depth, int64_t depth, const float* b, int64_t b_stride,
                      float* out, int64_t out_stride, bool add) {
  Vector sums[Q][V];
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v)
      sums[q][v] = add ? load<Vector>(out + q * out_stride + v * LANES<Vector>) : Vector{};
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[V];
    for (int v = 0; v < V; ++v) row[v] = load<Vector>(b + k * b_stride + v * LANES<Vector>);
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) sums[q][v] += row[v] * a[q * a_row + k * a_depth];
  }
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v) store(out + q * out_stride + v * LANES<Vector>, sums[q][v]);
}

// The same for any number of rows and for columns in whole vectors.
template <typename Vector, int Q, int V>
RSIR_INLINE void product(const float* a, int64_t a_row, int64_t a_depth, int64_t rows, int64_t depth, const float* b,
                         int64_t b_stride, int64_t columns, float* out, int64_t out_stride, bool add) {
  constexpr int64_t WIDE = V * LANES<Vector>;
  for (int64_t r = 0; r < rows;) {
    const bool many = rows - r >= Q;
    const float* from = a + r * a_row;
    float* to = out + r * out_stride;
    for (int64_t c = 0; c < columns;) {
      const bool wide = columns - c >= WIDE;
      if (many && wide)
        tile<Vector, Q, V>(from, a_row, a_depth, depth, b + c, b_stride, to + c, out_stride, add);
      else if (many)
        tile<Vector, Q, 1>(from, a_row, a_depth, depth, b + c, b_stride, to + c, out_stride, add);
      else if (wide)
        tile<Vector, 1, V>(from, a_row, a_depth, depth, b + c, b_stride, to + c, out_stride, add);
      else
        tile<Vector, 1, 1>(from, a_row, a_depth, depth, b + c, b_stride, to + c, out_stride, add);
      c += wide ? WIDE : LANES<Vector>;
    }
    r += many ? Q : 1;
  }
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
