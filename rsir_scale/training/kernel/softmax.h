// Softmax cross-entropy over a table of items, with its gradients: the boundary with Python (training/compiled.py
// mirrors it). Matrices are row-major, single precision.
#pragma once

#include <cstdint>

extern "C" {

// T rows are asked which of the N columns of a table comes next; each has a target.
struct RsirSoftmax {
  int64_t rows, columns, width;  // T, N, D: D is a multiple of 16
  const float* query;            // T x D
  const float* table;            // N x D
  const float* target;           // T: the target's score
  const float* weight;           // T: of a row's loss
  int32_t target_in_table;       // whether the target is one of the columns; else it is counted beside them
  const int64_t* hidden_offset;  // T + 1, into hidden_column; may be null
  const int64_t* hidden_column;  // the columns that a row does not count
  float* loss;                   // T: -log softmax of the target, not weighted
  float* query_gradient;         // T x D, of the weighted sum of the losses; without what the target's score passes on
  float* table_gradient;         // N x D, likewise
  float* target_gradient;        // T: by the target's score
};

// Name of the i-th set of instructions that this processor supports, best first; null after the last.
const char* rsir_softmax_instructions(int64_t i);

// Computes losses and gradients. Returns 0, or 1 when memory is short.
int32_t rsir_softmax_sum(const char* instructions, const RsirSoftmax* problem, int64_t threads);
}
