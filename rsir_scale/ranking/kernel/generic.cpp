// The set for any processor: vectors of four floats, which the compiler takes apart where there are none.
#include "portable.h"
#include "sets.h"

namespace rsir {
namespace {

bool always() { return true; }

typedef float Float4 __attribute__((vector_size(16)));

void scores_generic(const void* queries, const void* panels, int depth, float* scores) {
  float_block<2, Float4>(queries, panels, depth, scores);
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

Range range_generic(const float* scores, uint32_t count) { return range(scores, count); }

uint32_t count_reaching_generic(const float* scores, uint32_t count, float least) {
  return count_reaching(scores, count, least);
}

void exact_generic(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                   double* scores) {
  exact_scores(vectors, width, query, items, count, scores);
}

void count_higher_generic(const double* scores, uint32_t count, uint32_t* higher) {
  count_higher(scores, count, higher);
}

}  // namespace

const Instructions GENERIC = {
    .name = "generic",
    .precision = Precision::float32,
    .supported = always,
    .begin = nothing,
    .end = nothing,
    .scan = scan_in_two<scores_generic, list_generic>,
    .reached_by = halve_towards<range_generic, count_reaching_generic>,
    .keep_above = keep_above,
    .exact = exact_generic,
    .count_higher = count_higher_generic,
};

}  // namespace rsir
