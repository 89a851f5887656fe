// An HSTU block over a tile of whole contexts, forwards and backwards; hstu.HSTUBlock is its reference.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention.h"
#include "linear.h"
#include "tiles.h"

namespace rsir {

template <typename Vector, int Q, int V>
struct Hstu {
  using Layer = Linear<Vector, Q, V>;
  static constexpr Norm PLAIN{nullptr, nullptr, 1e-5f};

  // What a block keeps of all tokens. `active` holds gates, values, queries and keys; `projected` becomes the slope of
  // these by what was projected, and on the way back the gradient by it.
  struct Kept {
    float *in, *normed, *projected, *active, *mixed, *gated, *by_out;

    Kept(const RsirPacked& pass, int64_t block, int64_t token) {
      const int64_t tokens = tokens_of(pass), width = pass.width;
      float* next = pass.kept + block * numbers(pass);
      const auto take = [&](int64_t columns) {
        float* here = next + token * columns;
        next += tokens * columns;
        return here;
      };
      in = take(width), normed = take(width), projected = take(4 * width), active = take(4 * width);
      mixed = take(width), gated = take(width), by_out = take(width);
    }
  };

  static int64_t numbers(const RsirPacked& pass) { return tokens_of(pass) * 13 * pass.width; }

  // The gradient by the bias of distances is a sum over a tile's tokens.
  static int64_t sums(const RsirPacked& pass) { return pass.longest; }

  // rows: what comes in, and then what goes out.
  RSIR_INLINE static void forward(const RsirPacked& pass, int64_t block, const Tile& tile, const Dropout& dropout,
                                  float* rows, Space& space) {
    const RsirPackedBlock& of = pass.blocks[block];
    const int64_t width = pass.width;
    const Kept kept(pass, block, tile.begin);
    float* other = space.two.at(0);
    std::copy_n(rows, tile.tokens * width, kept.in);
    for (int64_t r = 0; r < tile.tokens; ++r) normalise<Vector>(rows + r * width, width, PLAIN, kept.normed + r * width);
    Layer::forward(of.layers[0], kept.normed, tile.tokens, kept.projected);
    for (int64_t k = 0; k < tile.tokens * 4 * width; k += LANES<Vector>) {
      const Active<Vector> x = silu(load<Vector>(kept.projected + k));
      store(kept.active + k, x.value);
      store(kept.projected + k, x.slope);
    }
    for (int64_t row = tile.first; row < tile.last; ++row) {
      const int64_t at = pass.offset[row] - tile.begin;
      mix_in(pass, of.distance_bias, pass.offset[row + 1] - pass.offset[row], kept.active + at * 4 * width,
             space.weights.at(0), kept.mixed + at * width);
    }
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float *gated = kept.gated + r * width, *gate = kept.active + r * 4 * width;
      normalise<Vector>(kept.mixed + r * width, width, PLAIN, gated);
      for (int64_t k = 0; k < width; k += LANES<Vector>) store(gated + k, load<Vector>(gated + k) * load<Vector>(gate + k));
      dropout.template apply<Vector>(uint32_t(pass.seed[tile.begin + r]), site_of(block, 0), width, gated, gated);
    }
    Layer::forward(of.layers[1], kept.gated, tile.tokens, other);
    add<Vector>(other, rows, tile.tokens * width);
  }

  // The same of a tile that is a pass of its own; the first rows then hold what goes out after each context's last token.
  RSIR_INLINE static void ends(const RsirPacked& pass, const Tile& tile, float* rows, Space& space) {
    forward(pass, 0, tile, {0, 1.f}, rows, space);
    for (int64_t row = 0; row < tile.last; ++row)
      std::copy_n(rows + (pass.offset[row + 1] - 1) * pass.width, pass.width, rows + row * pass.width);
  }

  // rows: the gradient by what went out, and then by what came in. sums: the tile's own.
  RSIR_INLINE static void backward(const RsirPacked& pass, int64_t block, const Tile& tile, const Dropout& dropout,
                                   float* rows, float* sums, Space& space) {
    const RsirPackedBlock& of = pass.blocks[block];
    const int64_t width = pass.width;
    const Kept kept(pass, block, tile.begin);
    float *other = space.two.at(0), *normed = space.one.at(0), *slopes = space.wide.at(0);
    std::copy_n(rows, tile.tokens * width, kept.by_out);
    Layer::backward(of.layers[1], rows, tile.tokens, other, false);
    for (int64_t r = 0; r < tile.tokens; ++r) {
      const float *mixed = kept.mixed + r * width, *gate = kept.active + r * 4 * width;
      float *by = other + r * width, *by_gate = slopes + r * 4 * width;
      dropout.template apply<Vector>(uint32_t(pass.seed[tile.begin + r]), site_of(block, 0), width, by, by);
      normalise<Vector>(mixed, width, PLAIN, normed);
      for (int64_t k = 0; k < width; k += LANES<Vector>) {
        store(by_gate + k, load<Vector>(by + k) * load<Vector>(normed + k));
        store(by + k, load<Vector>(by + k) * load<Vector>(gate + k));
      }
      normalise_back<Vector>(mixed, by, width, PLAIN, by, nullptr);
      std::fill_n(by_gate + width, 3 * width, 0.f);
    }
    for (int64_t row = tile.first; row < tile.last; ++row) {
      const int64_t at = pass.offset[row] - tile.begin;
      mix_back(pass, of.distance_bias, pass.offset[row + 1] - pass.offset[row], kept.active + at * 4 * width,
               other + at * width, slopes + at * 4 * width, sums, space);
    }
    multiply<Vector>(slopes, kept.projected, tile.tokens * 4 * width);
    Layer::backward(of.layers[0], kept.projected, tile.tokens, other, false);
    for (int64_t r = 0; r < tile.tokens; ++r)
      normalise_back<Vector>(kept.in + r * width, other + r * width, width, PLAIN, other + r * width, nullptr);
    add<Vector>(other, rows, tile.tokens * width);
  }

  static void shares(const RsirPacked& pass, int64_t block, std::vector<Share>& shares) {
    const RsirPackedBlock& of = pass.blocks[block];
    const Kept kept(pass, block, 0);
    add_shares(of.layers[0], kept.projected, kept.normed, shares);
    add_shares(of.layers[1], kept.by_out, kept.gated, shares);
  }

  static void finish(const RsirPacked& pass, int64_t block, const float* sums) {
    std::copy_n(sums, pass.longest, pass.blocks[block].distance_bias_gradient);
  }

 private:
  // One position's scores against itself and those before, biased by distance.
  RSIR_INLINE static void score(const RsirPacked& pass, const float* bias, const float* active, int64_t i, int64_t first,
                                float* scores) {
    const int64_t width = pass.width, stride = 4 * width, head = width / pass.heads;
    const float* query = active + i * stride + 2 * width + first;
    for (int64_t j = 0; j <= i; ++j)
      scores[j] = dot<Vector>(query, active + j * stride + 3 * width + first, head) + bias[i - j];
  }

  RSIR_INLINE static void mix_in(const RsirPacked& pass, const float* bias, int64_t length, const float* active,
                                 float* weights, float* out) {
    const int64_t width = pass.width, stride = 4 * width, head = width / pass.heads;
    for (int64_t first = 0; first < width; first += head)
      for (int64_t i = 0; i < length; ++i) {
        score(pass, bias, active, i, first, weights);
        for (int64_t j = 0; j <= i; j += LANES<Vector>)
          store(weights + j, silu(load<Vector>(weights + j)).value * (1.f / float(pass.longest)));
        for (int64_t k = 0; k < head; k += LANES<Vector>) {
          Vector sum = {};
          for (int64_t j = 0; j <= i; ++j) sum += load<Vector>(active + j * stride + width + first + k) * weights[j];
          store(out + i * width + first + k, sum);
        }
      }
  }

  // Adds the gradients by values, queries and keys to `slopes`, and those by the bias of distances to `by_bias`.
  RSIR_INLINE static void mix_back(const RsirPacked& pass, const float* bias, int64_t length, const float* active,
                                   const float* by_out, float* slopes, float* by_bias, Space& space) {
    const int64_t width = pass.width, stride = 4 * width, head = width / pass.heads;
    float *weights = space.weights.at(0), *by_score = space.slopes.at(0);
    const float share = 1.f / float(pass.longest);
    for (int64_t first = 0; first < width; first += head)
      for (int64_t i = 0; i < length; ++i) {
        const float *by = by_out + i * width + first, *query = active + i * stride + 2 * width + first;
        score(pass, bias, active, i, first, weights);
        for (int64_t j = 0; j <= i; ++j) by_score[j] = dot<Vector>(by, active + j * stride + width + first, head);
        for (int64_t j = 0; j <= i; j += LANES<Vector>) {
          const Active<Vector> x = silu(load<Vector>(weights + j));
          store(by_score + j, load<Vector>(by_score + j) * x.slope * share);
          store(weights + j, x.value * share);
        }
        for (int64_t j = 0; j <= i; ++j) {
          float* theirs = slopes + j * stride + first;
          add_scaled<Vector>(by, weights[j], head, theirs + width);
          add_scaled<Vector>(query, by_score[j], head, theirs + 3 * width);
          by_bias[i - j] += by_score[j];
        }
        for (int64_t k = first; k < first + head; k += LANES<Vector>) {
          Vector sum = {};
          for (int64_t j = 0; j <= i; ++j) sum += load<Vector>(active + j * stride + 3 * width + k) * by_score[j];
          store(slopes + i * stride + 2 * width + k, sum);
        }
      }
  }
};

}  // namespace rsir
