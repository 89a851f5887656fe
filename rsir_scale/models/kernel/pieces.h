// What stands between the products of a block: norms, activations and dropout, forwards and backwards, row by row.
//
// Dropout draws by counter: whether an element is zeroed is a hash of its token, of the place in the network and of its
// channel, so that the way back finds the same elements without a mask kept. models/packed.py does the same in torch.
#pragma once

#include <cmath>
#include <cstdint>

#include "vectors.h"

namespace rsir {

// As many whole numbers as a vector has lanes.
template <int BYTES>
struct Lanes;
#define RSIR_LANES(BYTES)                                               \
  template <>                                                           \
  struct Lanes<BYTES> {                                                 \
    typedef uint32_t Words __attribute__((vector_size(BYTES)));         \
    typedef int32_t Whole __attribute__((vector_size(BYTES)));          \
  };
RSIR_LANES(16)
RSIR_LANES(32)
RSIR_LANES(64)
#undef RSIR_LANES

constexpr uint32_t STEP = 0x9E3779B9u;  // between counters: 2^32 over the golden ratio

// A hash of 32 bits (Wellons, "Prospecting for hash functions": lowbias32).
template <typename Word>
RSIR_INLINE Word mix(Word x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

struct Dropout {
  int32_t threshold;  // of 2^24: a draw below it zeroes; 0 turns dropout off
  float scale;        // of what stays

  // The draws of one token at one place of the network.
  RSIR_INLINE uint32_t stream(uint32_t seed, int64_t site) const { return mix(seed + uint32_t(site) * STEP); }

  // What the channels from `first` on are multiplied with.
  template <typename Vector>
  RSIR_INLINE Vector kept(uint32_t stream, int64_t first) const {
    using Words = typename Lanes<sizeof(Vector)>::Words;
    using Whole = typename Lanes<sizeof(Vector)>::Whole;
    uint32_t lanes[LANES<Vector>];
    for (int lane = 0; lane < LANES<Vector>; ++lane) lanes[lane] = uint32_t(lane) * STEP;
    Words counter;
    __builtin_memcpy(&counter, lanes, sizeof counter);
    const Words draw = mix(counter + (stream + uint32_t(first) * STEP)) >> 8;
    const Whole zeroed = (Whole)draw < threshold;
    return zeroed ? Vector{} : Vector{} + scale;
  }

  // row *= mask
  template <typename Vector>
  RSIR_INLINE void apply(uint32_t seed, int64_t site, int64_t channels, const float* in, float* out) const {
    const uint32_t draws = stream(seed, site);
    for (int64_t k = 0; k < channels; k += LANES<Vector>) {
      const Vector x = load<Vector>(in + k);
      store(out + k, threshold == 0 ? x : x * kept<Vector>(draws, k));
    }
  }
};

// e^(-x²/2), and the normal distribution function Φ(x) by Abramowitz and Stegun, 7.1.26: wrong by 1.5e-7 at most.
template <typename Vector>
struct Normal {
  Vector power, below;

  RSIR_INLINE explicit Normal(Vector x) {
    const Vector z = (x < 0 ? -x : x) * 0.70710678f;
    const Vector t = 1.f / (z * 0.3275911f + 1.f);
    Vector tail = t * 1.061405429f - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    power = exponential(-z * z);
    const Vector erf = 1.f - tail * t * power;
    below = 0.5f * (1.f + (x < 0 ? -erf : erf));
  }
};

// What an activation makes of a number, and how fast that grows with it.
template <typename Vector>
struct Active {
  Vector value, slope;
};

// x Φ(x)
template <typename Vector>
RSIR_INLINE Active<Vector> gelu(Vector x) {
  const Normal<Vector> normal(x);
  return {x * normal.below, normal.below + x * normal.power * 0.39894228f};
}

// x σ(x)
template <typename Vector>
RSIR_INLINE Active<Vector> silu(Vector x) {
  const Vector share = 1.f / (1.f + exponential(-x)), value = x * share;
  return {value, share + value * (1.f - share)};
}

// Mean, and one over the deviation, of a row.
struct Moments {
  float mean, scale;
};

template <typename Vector>
RSIR_INLINE Moments moments(const float* row, int64_t width, float epsilon) {
  Vector total = {};
  for (int64_t k = 0; k < width; k += LANES<Vector>) total += load<Vector>(row + k);
  const float mean = sum_of(total) / float(width);
  Vector square = {};
  for (int64_t k = 0; k < width; k += LANES<Vector>) {
    const Vector off = load<Vector>(row + k) - mean;
    square += off * off;
  }
  return {mean, 1.f / std::sqrt(sum_of(square) / float(width) + epsilon)};
}

// A layer norm's numbers; without parameters, null.
struct Norm {
  const float* scale;
  const float* shift;
  float epsilon;
};

template <typename Vector>
RSIR_INLINE void normalise(const float* in, int64_t width, const Norm& norm, float* out) {
  const Moments of = moments<Vector>(in, width, norm.epsilon);
  for (int64_t k = 0; k < width; k += LANES<Vector>) {
    const Vector x = (load<Vector>(in + k) - of.mean) * of.scale;
    store(out + k, norm.scale == nullptr ? x : x * load<Vector>(norm.scale + k) + load<Vector>(norm.shift + k));
  }
}

// The gradient by a norm's input from that by its output, which it may overwrite; adds to the gradients by scale and
// shift, which stand one after the other.
template <typename Vector>
RSIR_INLINE void normalise_back(const float* in, const float* by_out, int64_t width, const Norm& norm, float* by_in,
                                float* by_norm) {
  const Moments of = moments<Vector>(in, width, norm.epsilon);
  Vector sum = {}, product = {};
  for (int64_t k = 0; k < width; k += LANES<Vector>) {
    const Vector x = (load<Vector>(in + k) - of.mean) * of.scale;
    Vector slope = load<Vector>(by_out + k);
    if (norm.scale != nullptr) {
      store(by_norm + k, load<Vector>(by_norm + k) + slope * x);
      store(by_norm + width + k, load<Vector>(by_norm + width + k) + slope);
      slope *= load<Vector>(norm.scale + k);
    }
    sum += slope;
    product += slope * x;
  }
  const float mean = sum_of(sum) / float(width), along = sum_of(product) / float(width);
  for (int64_t k = 0; k < width; k += LANES<Vector>) {
    const Vector x = (load<Vector>(in + k) - of.mean) * of.scale;
    const Vector slope = norm.scale == nullptr ? load<Vector>(by_out + k)
                                               : load<Vector>(by_out + k) * load<Vector>(norm.scale + k);
    store(by_in + k, (slope - mean - x * along) * of.scale);
  }
}

// A vector with 0 from the lane `count` on.
template <typename Vector>
RSIR_INLINE Vector inside(Vector x, int64_t count) {
  using Whole = typename Lanes<sizeof(Vector)>::Whole;
  int32_t lanes[LANES<Vector>];
  for (int lane = 0; lane < LANES<Vector>; ++lane) lanes[lane] = lane;
  Whole place;
  __builtin_memcpy(&place, lanes, sizeof place);
  return place < int32_t(count) ? x : Vector{};
}

template <typename Vector>
RSIR_INLINE void multiply(const float* one, float* to, int64_t count) {
  for (int64_t k = 0; k < count; k += LANES<Vector>) store(to + k, load<Vector>(to + k) * load<Vector>(one + k));
}

template <typename Vector>
RSIR_INLINE void add(const float* one, float* to, int64_t count) {
  for (int64_t k = 0; k < count; k += LANES<Vector>) store(to + k, load<Vector>(to + k) + load<Vector>(one + k));
}

}  // namespace rsir
