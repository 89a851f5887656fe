// Linear layers over rows, forwards and backwards, a panel of columns at a time, which stays in the first-level cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "packed.h"
#include "product.h"

namespace rsir {

template <typename Vector, int Q, int V>
struct Linear {
  static constexpr int64_t PANEL = V * LANES<Vector>;
  static constexpr int64_t DEPTH = 96;  // tokens whose gradients and inputs stay in the first-level cache

  // out = in · weight' + bias
  RSIR_INLINE static void forward(const RsirLinear& layer, const float* in, int64_t rows, float* out) {
    forward(layer, in, rows, 0, layer.outputs, out);
  }

  // The same for outputs [begin, end) alone; a row of `out` has room for all.
  RSIR_INLINE static void forward(const RsirLinear& layer, const float* in, int64_t rows, int64_t begin, int64_t end,
                                  float* out) {
    for (int64_t c = begin; c < end; c += PANEL)
      product<Vector, Q, V>(in, layer.inputs, 1, rows, layer.inputs, layer.across + c, layer.outputs,
                            std::min(PANEL, end - c), out + c, layer.outputs,
                            {layer.bias != nullptr ? layer.bias + c : nullptr, 0});
  }

  // by_in = by_out · weight, on top of what is there if `more`.
  RSIR_INLINE static void backward(const RsirLinear& layer, const float* by_out, int64_t rows, float* by_in, bool more) {
    for (int64_t c = 0; c < layer.inputs; c += PANEL)
      product<Vector, Q, V>(by_out, layer.outputs, 1, rows, layer.outputs, layer.weight + c, layer.inputs,
                            std::min(PANEL, layer.inputs - c), by_in + c, layer.inputs,
                            more ? From{by_in + c, layer.inputs} : From{});
  }

  // Gradients by the weights and biases of outputs [begin, begin + outputs), over all tokens in one order. Outputs are
  // whole vectors.
  RSIR_INLINE static void gradient(const RsirLinear& layer, const float* by_out, const float* in, int64_t tokens,
                                   int64_t begin, int64_t outputs) {
    float* by_weight = layer.weight_gradient + begin * layer.inputs;
    const float* slopes = by_out + begin;
    for (int64_t t = 0; t < tokens; t += DEPTH)
      product<Vector, Q, V>(slopes + t * layer.outputs, 1, layer.outputs, outputs, std::min(DEPTH, tokens - t),
                            in + t * layer.inputs, layer.inputs, layer.inputs, by_weight, layer.inputs,
                            t > 0 ? From{by_weight, layer.inputs} : From{});
    if (layer.bias == nullptr) return;
    for (int64_t c = 0; c < outputs; c += LANES<Vector>) {
      Vector sum = {};
      for (int64_t t = 0; t < tokens; ++t) sum += load<Vector>(slopes + t * layer.outputs + c);
      store(layer.bias_gradient + begin + c, sum);
    }
  }
};

}  // namespace rsir
