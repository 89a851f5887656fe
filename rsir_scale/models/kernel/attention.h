// Softmax attention of one context to itself, forwards and backwards.
//
// A position's queries, keys and values stand one after another in a row. What a position gives to others is not kept,
// but the logarithm of its sum of powers is, from which it is found again.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "pieces.h"

namespace rsir {

constexpr int64_t POSITIONS_APART = 1 << 16;  // channels of dropout from one head's attention to the next's

template <typename Vector>
RSIR_INLINE float dot(const float* one, const float* other, int64_t count) {
  Vector sum = {};
  for (int64_t k = 0; k < count; k += LANES<Vector>) sum += load<Vector>(one + k) * load<Vector>(other + k);
  return sum_of(sum);
}

// to += from · by
template <typename Vector>
RSIR_INLINE void add_scaled(const float* from, float by, int64_t count, float* to) {
  for (int64_t k = 0; k < count; k += LANES<Vector>) store(to + k, load<Vector>(to + k) + load<Vector>(from + k) * by);
}

struct Context {
  int64_t length, width, heads;
  const int64_t* seed;  // of each position
  int64_t site;
  Dropout dropout;
};

// What positions from `first` on read. in: length x 3 width; out: length x width; logarithm: length x heads; weights: room
// for `length` and a vector more.
template <typename Vector>
RSIR_INLINE void attend(const Context& at, int64_t first, const float* in, float* weights, float* out, float* logarithm) {
  const int64_t width = at.width, stride = 3 * width, head = width / at.heads;
  const float root = 1.f / std::sqrt(float(head));
  for (int64_t h = 0; h < at.heads; ++h)
    for (int64_t i = first; i < at.length; ++i) {
      const float* query = in + i * stride + h * head;
      float greatest = -INFINITY;
      for (int64_t j = 0; j <= i; ++j) {
        weights[j] = dot<Vector>(query, in + j * stride + width + h * head, head) * root;
        greatest = std::max(greatest, weights[j]);
      }
      const int64_t padded = (i + LANES<Vector>) / LANES<Vector> * LANES<Vector>;
      std::fill(weights + i + 1, weights + padded, -INFINITY);
      const uint32_t draws = at.dropout.stream(uint32_t(at.seed[i]), at.site);
      Vector sum = {};
      for (int64_t j = 0; j < padded; j += LANES<Vector>) {
        const Vector power = exponential(load<Vector>(weights + j) - greatest);
        sum += j + LANES<Vector> <= i + 1 ? power : inside<Vector>(power, i + 1 - j);
        store(weights + j, at.dropout.threshold == 0
                               ? power
                               : power * at.dropout.template kept<Vector>(draws, h * POSITIONS_APART + j));
      }
      const float total = sum_of(sum);
      logarithm[i * at.heads + h] = greatest + std::log(total);
      float* mixed = out + i * width + h * head;
      for (int64_t k = 0; k < head; k += LANES<Vector>) {
        Vector value = {};
        for (int64_t j = 0; j <= i; ++j)
          value += load<Vector>(in + j * stride + 2 * width + h * head + k) * weights[j];
        store(mixed + k, value / total);
      }
    }
}

// by_out: length x width. Overwrites `in` with its gradient. pairs: room for length x 2 heads' widths; weights, slopes:
// room for `length` and a vector more.
template <typename Vector>
RSIR_INLINE void attend_back(const Context& at, const float* out, const float* logarithm, const float* by_out, float* in,
                             float* weights, float* slopes, float* pairs) {
  const int64_t width = at.width, stride = 3 * width, head = width / at.heads;
  const float root = 1.f / std::sqrt(float(head));
  for (int64_t h = 0; h < at.heads; ++h) {
    std::fill_n(pairs, at.length * 2 * head, 0.f);
    for (int64_t i = 0; i < at.length; ++i) {
      float* query = in + i * stride + h * head;
      const float* by_mixed = by_out + i * width + h * head;
      const float along = dot<Vector>(by_mixed, out + i * width + h * head, head);
      for (int64_t j = 0; j <= i; ++j) {
        const float* key = in + j * stride + width + h * head;
        weights[j] = dot<Vector>(query, key, head) * root;
        slopes[j] = dot<Vector>(by_mixed, key + width, head);
      }
      const uint32_t draws = at.dropout.stream(uint32_t(at.seed[i]), at.site);
      for (int64_t j = 0; j <= i; j += LANES<Vector>) {
        const Vector share = exponential(load<Vector>(weights + j) - logarithm[i * at.heads + h]);
        const Vector kept = at.dropout.threshold == 0
                                ? Vector{} + 1.f
                                : at.dropout.template kept<Vector>(draws, h * POSITIONS_APART + j);
        store(weights + j, share * kept);
        store(slopes + j, share * (load<Vector>(slopes + j) * kept - along) * root);
      }
      for (int64_t j = 0; j <= i; ++j) {
        add_scaled<Vector>(query, slopes[j], head, pairs + j * 2 * head);
        add_scaled<Vector>(by_mixed, weights[j], head, pairs + j * 2 * head + head);
      }
      for (int64_t k = 0; k < head; k += LANES<Vector>) {
        Vector sum = {};
        for (int64_t j = 0; j <= i; ++j) sum += load<Vector>(in + j * stride + width + h * head + k) * slopes[j];
        store(query + k, sum);
      }
    }
    for (int64_t j = 0; j < at.length; ++j) {
      std::copy_n(pairs + j * 2 * head, head, in + j * stride + width + h * head);
      std::copy_n(pairs + j * 2 * head + head, head, in + j * stride + 2 * width + h * head);
    }
  }
}

}  // namespace rsir
