// Transformer blocks over a tree of positions, on the CPU: the boundary with Python (models/compiled.py mirrors it).
// Matrices are row-major, inputs x outputs; what each means is told in models/layers.py.
#pragma once

#include <cstdint>

extern "C" {

struct RsirNorm {
  const float* scale;  // width
  const float* shift;  // width
  float epsilon;
};

struct RsirBlock {
  const float* project_in;  // width x 3 width: queries, keys, values
  const float* project_in_bias;
  const float* project_out;  // width x width
  const float* project_out_bias;
  const float* expand;  // width x feed_forward
  const float* expand_bias;
  const float* contract;  // feed_forward x width
  const float* contract_bias;
  RsirNorm attention_norm, feed_forward_norm;
};

// New positions of one call; memory is that of models/memory.py.
struct RsirPositions {
  int64_t count, path_width, room;
  const int64_t* position;  // count
  const int64_t* path;      // count x path_width: nodes; at `position` the new one's own
  float* key;               // blocks x room x width
  float* value;             // blocks x room x width
  float* hidden;            // count x width: what the blocks take in, and what they put out
};

// Name of the i-th set of instructions that this processor supports, best first; null after the last.
const char* rsir_blocks_instructions(int64_t i);

// Runs the new positions through all blocks. Width, the width of a head and feed_forward are multiples of 16. Returns 0,
// or 1 when memory is short.
int32_t rsir_blocks_advance(const char* instructions, const RsirBlock* blocks, int64_t count, int64_t width,
                            int64_t heads, int64_t feed_forward, int32_t norm_first, const RsirPositions* positions);
}
