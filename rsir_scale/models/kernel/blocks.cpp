// Transformer blocks for positions whose keys and values lie in a tree, in single precision.
//
// A block first writes keys and values of all new positions, so that new positions may stand on each other, then mixes
// and maps them a few rows at a time, with what those rows need in the first-level cache. A row's result depends on the
// row alone: sums run in one order, whoever shares its tile.
#include "blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "pieces.h"

namespace rsir {
namespace {

constexpr int64_t ROWS_PER_TILE = 32;

// Q rows times V vectors of a matrix's columns; sums stay in registers.
template <typename Vector, int Q, int V>
RSIR_INLINE void product(const float* in, int64_t in_stride, int64_t depth, const float* matrix, int64_t columns,
                         const float* bias, float* out, int64_t out_stride) {
  Vector sums[Q][V];
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v) sums[q][v] = load<Vector>(bias + v * LANES<Vector>);
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[V];
    for (int v = 0; v < V; ++v) row[v] = load<Vector>(matrix + k * columns + v * LANES<Vector>);
    for (int q = 0; q < Q; ++q)
      for (int v = 0; v < V; ++v) sums[q][v] += row[v] * in[q * in_stride + k];
  }
  for (int q = 0; q < Q; ++q)
    for (int v = 0; v < V; ++v) store(out + q * out_stride + v * LANES<Vector>, sums[q][v]);
}

// out = in · matrix + bias, for some rows. Each Q rows share what they read of the matrix.
template <typename Vector, int Q>
RSIR_INLINE void linear(const float* in, int64_t rows, int64_t depth, const float* matrix, const float* bias,
                        int64_t columns, float* out) {
  constexpr int64_t WIDE = 2 * LANES<Vector>;
  for (int64_t c = 0; c < columns; c += WIDE)
    for (int64_t r = 0; r < rows;) {
      const float* from = in + r * depth;
      float* to = out + r * columns + c;
      const bool many = rows - r >= Q, wide = columns - c >= WIDE;
      if (many && wide)
        product<Vector, Q, 2>(from, depth, depth, matrix + c, columns, bias + c, to, columns);
      else if (many)
        product<Vector, Q, 1>(from, depth, depth, matrix + c, columns, bias + c, to, columns);
      else if (wide)
        product<Vector, 1, 2>(from, depth, depth, matrix + c, columns, bias + c, to, columns);
      else
        product<Vector, 1, 1>(from, depth, depth, matrix + c, columns, bias + c, to, columns);
      r += many ? Q : 1;
    }
}

Norm norm_of(const RsirNorm& norm) { return {norm.scale, norm.shift, norm.epsilon}; }

struct Stack {
  const RsirBlock* blocks;
  int64_t count, width, heads, feed_forward;
  bool norm_first;
};

// What a thread works in, kept from call to call.
struct Workspace {
  std::vector<float> query;    // of all new positions
  std::vector<float> weights;  // of one row and head
  std::vector<float> one, two, wide;  // tiles
};

// Softmax-weighted values of one row's path, head by head.
template <typename Vector>
RSIR_INLINE void attend(const Stack& stack, const float* query, const float* key, const float* value,
                        const int64_t* path, int64_t seen, float* weights, float* out) {
  const int64_t head = stack.width / stack.heads;
  const float root = 1.f / std::sqrt(float(head));
  for (int64_t first = 0; first < stack.width; first += head) {
    float greatest = -INFINITY;
    for (int64_t j = 0; j < seen; ++j) {
      const float* theirs = key + path[j] * stack.width + first;
      Vector sum = {};
      for (int64_t k = 0; k < head; k += LANES<Vector>) sum += load<Vector>(query + first + k) * load<Vector>(theirs + k);
      weights[j] = sum_of(sum) * root;
      greatest = std::max(greatest, weights[j]);
    }
    const int64_t padded = (seen + LANES<Vector> - 1) / LANES<Vector> * LANES<Vector>;
    std::fill(weights + seen, weights + padded, -INFINITY);
    for (int64_t j = 0; j < padded; j += LANES<Vector>)
      store(weights + j, exponential(load<Vector>(weights + j) - greatest));
    float total = 0;
    for (int64_t j = 0; j < seen; ++j) total += weights[j];
    for (int64_t k = 0; k < head; k += LANES<Vector>) {
      Vector sum = {};
      for (int64_t j = 0; j < seen; ++j) sum += load<Vector>(value + path[j] * stack.width + first + k) * weights[j];
      store(out + first + k, sum / total);
    }
  }
}

template <typename Vector, int Q>
RSIR_INLINE void project_in(const Stack& stack, const RsirBlock& block, const RsirPositions& at, float* key,
                            float* value, Workspace& space) {
  const int64_t width = stack.width;
  for (int64_t begin = 0; begin < at.count; begin += ROWS_PER_TILE) {
    const int64_t rows = std::min(ROWS_PER_TILE, at.count - begin);
    const float* in = at.hidden + begin * width;
    if (stack.norm_first) {
      for (int64_t r = 0; r < rows; ++r)
        normalise<Vector>(in + r * width, width, norm_of(block.attention_norm), &space.one[r * width]);
      in = space.one.data();
    }
    linear<Vector, Q>(in, rows, width, block.project_in, block.project_in_bias, 3 * width, space.wide.data());
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = begin + r, node = at.path[row * at.path_width + at.position[row]];
      const float* projected = &space.wide[r * 3 * width];
      std::copy_n(projected, width, &space.query[row * width]);
      std::copy_n(projected + width, width, key + node * width);
      std::copy_n(projected + 2 * width, width, value + node * width);
    }
  }
}

template <typename Vector, int Q>
RSIR_INLINE void mix_and_map(const Stack& stack, const RsirBlock& block, const RsirPositions& at, const float* key,
                             const float* value, Workspace& space) {
  const int64_t width = stack.width;
  float *one = space.one.data(), *two = space.two.data(), *wide = space.wide.data();
  for (int64_t begin = 0; begin < at.count; begin += ROWS_PER_TILE) {
    const int64_t rows = std::min(ROWS_PER_TILE, at.count - begin);
    float* hidden = at.hidden + begin * width;
    for (int64_t r = 0; r < rows; ++r)
      attend<Vector>(stack, &space.query[(begin + r) * width], key, value, at.path + (begin + r) * at.path_width,
                     at.position[begin + r] + 1, space.weights.data(), one + r * width);
    linear<Vector, Q>(one, rows, width, block.project_out, block.project_out_bias, width, two);
    add<Vector>(two, hidden, rows * width);
    for (int64_t r = 0; r < rows; ++r) {
      float* row = hidden + r * width;
      const Norm norm = norm_of(stack.norm_first ? block.feed_forward_norm : block.attention_norm);
      normalise<Vector>(row, width, norm, one + r * width);
      if (!stack.norm_first) std::copy_n(one + r * width, width, row);
    }
    linear<Vector, Q>(one, rows, width, block.expand, block.expand_bias, stack.feed_forward, wide);
    for (int64_t k = 0; k < rows * stack.feed_forward; k += LANES<Vector>) store(wide + k, gelu(load<Vector>(wide + k)).value);
    linear<Vector, Q>(wide, rows, stack.feed_forward, block.contract, block.contract_bias, width, two);
    add<Vector>(two, hidden, rows * width);
    if (!stack.norm_first)
      for (int64_t r = 0; r < rows; ++r)
        normalise<Vector>(hidden + r * width, width, norm_of(block.feed_forward_norm), hidden + r * width);
  }
}

template <typename Vector, int Q>
RSIR_INLINE void advance(const Stack& stack, const RsirPositions& at, Workspace& space) {
  for (int64_t b = 0; b < stack.count; ++b) {
    float* key = at.key + b * at.room * stack.width;
    float* value = at.value + b * at.room * stack.width;
    project_in<Vector, Q>(stack, stack.blocks[b], at, key, value, space);
    mix_and_map<Vector, Q>(stack, stack.blocks[b], at, key, value, space);
  }
}

void advance_generic(const Stack& stack, const RsirPositions& at, Workspace& space) {
  advance<Float4, 4>(stack, at, space);
}

struct Instructions {
  const char* name;
  bool (*supported)();
  void (*advance)(const Stack&, const RsirPositions&, Workspace&);
};

#ifdef RSIR_X86
__attribute__((target("avx512f"))) void advance_avx512(const Stack& stack, const RsirPositions& at, Workspace& space) {
  advance<Float16, 8>(stack, at, space);
}

__attribute__((target("avx2,fma"))) void advance_avx2(const Stack& stack, const RsirPositions& at, Workspace& space) {
  advance<Float8, 6>(stack, at, space);
}
#endif

// Best first.
const Instructions ALL[] = {
#ifdef RSIR_X86
    {"avx512", has_avx512, advance_avx512},
    {"avx2", has_avx2, advance_avx2},
#endif
    {"generic", always, advance_generic},
};

}  // namespace
}  // namespace rsir

using namespace rsir;

const char* rsir_blocks_instructions(int64_t i) {
  for (const Instructions& one : ALL)
    if (one.supported() && i-- == 0) return one.name;
  return nullptr;
}

int32_t rsir_blocks_advance(const char* instructions, const RsirBlock* blocks, int64_t count, int64_t width,
                            int64_t heads, int64_t feed_forward, int32_t norm_first, const RsirPositions* positions) {
  static thread_local Workspace space;
  try {
    space.query.resize(positions->count * width);
    space.weights.resize(positions->path_width + LANES<Float16>);
    space.one.resize(ROWS_PER_TILE * width);
    space.two.resize(ROWS_PER_TILE * width);
    space.wide.resize(ROWS_PER_TILE * std::max(3 * width, feed_forward));
  } catch (const std::bad_alloc&) {
    return 1;
  }
  const Stack stack{blocks, count, width, heads, feed_forward, norm_first != 0};
  for (const Instructions& one : ALL)
    if (std::strcmp(one.name, instructions) == 0) one.advance(stack, *positions, space);
  return 0;
}
