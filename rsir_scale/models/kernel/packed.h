// Blocks over whole contexts that stand one after another, forwards and backwards: the boundary with Python
// (models/compiled_packed.py mirrors it). Matrices are row-major, single precision; what each means is told in
// models/layers.py and models/hstu.py.
#pragma once

#include <cstdint>

extern "C" {

// A linear layer, with room for its gradients.
struct RsirLinear {
  const float* weight;  // outputs x inputs
  const float* across;  // inputs x outputs: the same transposed
  const float* bias;    // outputs; may be null
  float* weight_gradient;
  float* bias_gradient;
  int64_t outputs, inputs;
};

struct RsirLayerNorm {
  const float* scale;  // width
  const float* shift;  // width
  float epsilon;
  float* scale_gradient;
  float* shift_gradient;
};

// A Transformer block has four layers (project_in, project_out, expand, contract) and both norms; HSTU's has the first
// two, and a bias of distances.
struct RsirPackedBlock {
  RsirLinear layers[4];
  RsirLayerNorm attention_norm, feed_forward_norm;
  const float* distance_bias;  // longest
  float* distance_bias_gradient;
};

struct RsirPacked {
  const RsirPackedBlock* blocks;
  int64_t count, width, heads, feed_forward;
  int32_t hstu, norm_first;
  int64_t longest;         // HSTU: the longest context that the model reads; else the longest of these
  int64_t rows;            // contexts
  const int64_t* offset;   // rows + 1: where each begins
  const int64_t* seed;     // tokens: what the draws of dropout are keyed by, below 2^32
  int32_t threshold;       // dropout's; see pieces.h
  float scale;
  const float* in;         // tokens x width: what the first block takes in, before dropout
  float* out;              // tokens x width; of `rsir_packed_ends`, rows x width
  float* kept;             // rsir_packed_kept: what the way back needs, and overwrites
  const float* out_gradient;
  float* in_gradient;      // tokens x width
};

// Name of the i-th set of instructions that this processor supports, best first; null after the last.
const char* rsir_packed_instructions(int64_t i);

// How many numbers a pass keeps for the way back.
int64_t rsir_packed_kept(const RsirPacked* pass);

// Return 0, or 1 when memory is short. Width, the width of a head and feed_forward are multiples of 16.
int32_t rsir_packed_forward(const char* instructions, const RsirPacked* pass, int64_t threads);
int32_t rsir_packed_backward(const char* instructions, const RsirPacked* pass, int64_t threads);

// What goes out after the last token of each context, without dropout; keeps nothing, and reads no seed.
int32_t rsir_packed_ends(const char* instructions, const RsirPacked* pass, int64_t threads);
}
