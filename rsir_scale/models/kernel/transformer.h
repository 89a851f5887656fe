// A Transformer block over a tile of whole contexts, forwards and backwards; layers.TransformerBlock is its reference.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention.h"
#include "linear.h"
#include "tiles.h"

namespace rsir {

template <typename Vector, int Q, int V>
struct Transformer {
  using Layer = Linear<Vector, Q, V>;

  // What a block keeps of all tokens. The way back overwrites what it has read with the gradients that the weights'
  // need: those by what left `project_in`, `project_out`, `expand` and `contract`. On the way there `expanded` becomes the
  // slope of the activation.
  struct Kept {
    float *in, *normed, *projected, *mixed, *attended, *fed, *expanded, *active, *left, *logarithm;

    Kept(const RsirPacked& pass, int64_t block, int64_t token) {
      const int64_t tokens = tokens_of(pass), width = pass.width, wide = pass.feed_forward;
      float* next = pass.kept + block * numbers(pass);
      const auto take = [&](int64_t columns) {
        float* here = next + token * columns;
        next += tokens * columns;
        return here;
      };
      in = take(width), normed = take(width), projected = take(3 * width), mixed = take(width);
      attended = take(width), fed = take(width), expanded = take(wide), active = take(wide), left = take(width);
      logarithm = take(pass.heads);
    }
  };

  static int64_t numbers(const RsirPacked& pass) {
    const int64_t lines = (tokens_of(pass) * pass.heads + 15) / 16 * 16;
    return tokens_of(pass) * (9 * pass.width + 2 * pass.feed_forward) + lines;
  }

  // Gradients of norms are sums over a tile's tokens: attention's, then the feed-forward layer's.
  static int64_t sums(const RsirPacked& pass) { return 4 * pass.width; }

  RSIR_INLINE static Context context(const RsirPacked& pass, int64_t block, int64_t row, const Dropout& dropout) {
    return {pass.offset[row + 1] - pass.offset[row], pass.width, pass.heads, pass.seed + pass.offset[row],
            site_of(block, 0), dropout};
  }

  // rows: what comes in, and then what goes out.
  RSIR_INLINE static void forward(const RsirPacked& pass, int64_t block, const Tile& tile, const Dropout& dropout,
                                  float* rows, Space& space) {
    const RsirPackedBlock& of = pass.blocks[block];
    const int64_t width = pass.width, wide = pass.feed_forward, numbers = tile.tokens * width;
    const Norm first = norm_of(of.attention_norm), second = norm_of(of.feed_forward_norm);
    const int64_t* seed = pass.seed + tile.begin;
    const Kept kept(pass, block, tile.begin);
    float* other = space.two.at(0);
    std::copy_n(rows, numbers, kept.in);
    const float* normed = kept.in;
    if (pass.norm_first) {
      for (int64_t r = 0; r < tile.tokens; ++r) normalise<Vector>(rows + r * width, width, first, kept.normed + r * width);
      normed = kept.normed;
    }
    Layer::forward(of.layers[0], normed, tile.tokens, kept.projected);
    for (int64_t row = tile.first; row < tile.last; ++row) {
      const int64_t at = pass.offset[row] - tile.begin;
      attend<Vector>(context(pass, block, row, dropout), kept.projected + at * 3 * width, space.weights.at(0),
                     kept.mixed + at * width, kept.logarithm + at * pass.heads);
    }
    Layer::forward(of.layers[1], kept.mixed, tile.tokens, other);
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float *attended = kept.attended + r * width, *fed = kept.fed + r * width;
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 1), width, other + r * width, attended);
      add<Vector>(rows + r * width, attended, width);
      normalise<Vector>(attended, width, pass.norm_first ? second : first, fed);
    }
    Layer::forward(of.layers[2], kept.fed, tile.tokens, kept.expanded);
    for (int64_t r = 0; r < tile.tokens; ++r) activate(dropout, seed[r], block, wide, kept.expanded + r * wide, kept.active + r * wide);
    Layer::forward(of.layers[3], kept.active, tile.tokens, other);
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float *left = kept.left + r * width, *out = rows + r * width;
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 3), width, other + r * width, left);
      add<Vector>((pass.norm_first ? kept.attended : kept.fed) + r * width, left, width);
      if (pass.norm_first)
        std::copy_n(left, width, out);
      else
        normalise<Vector>(left, width, second, out);
    }
  }

  // rows: the gradient by what went out, and then by what came in. sums: the tile's own.
  RSIR_INLINE static void backward(const RsirPacked& pass, int64_t block, const Tile& tile, const Dropout& dropout,
                                   float* rows, float* sums, Space& space) {
    const RsirPackedBlock& of = pass.blocks[block];
    const int64_t width = pass.width, wide = pass.feed_forward;
    const Norm first = norm_of(of.attention_norm), second = norm_of(of.feed_forward_norm);
    const int64_t* seed = pass.seed + tile.begin;
    const Kept kept(pass, block, tile.begin);
    float *other = space.two.at(0), *slopes = space.wide.at(0), *second_sums = sums + 2 * width;
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float *left = kept.left + r * width, *by = rows + r * width;
      if (!pass.norm_first) normalise_back<Vector>(left, by, width, second, by, second_sums);
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 3), width, by, left);
    }
    Layer::backward(of.layers[3], kept.left, tile.tokens, slopes, false);
    multiply<Vector>(slopes, kept.expanded, tile.tokens * wide);
    Layer::backward(of.layers[2], kept.expanded, tile.tokens, pass.norm_first ? other : rows, !pass.norm_first);
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float *attended = kept.attended + r * width, *by = rows + r * width;
      if (pass.norm_first) {
        normalise_back<Vector>(attended, other + r * width, width, second, other + r * width, second_sums);
        add<Vector>(other + r * width, by, width);
      } else {
        normalise_back<Vector>(attended, by, width, first, by, sums);
      }
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 1), width, by, attended);
    }
    Layer::backward(of.layers[1], kept.attended, tile.tokens, other, false);
    for (int64_t row = tile.first; row < tile.last; ++row) {
      const int64_t at = pass.offset[row] - tile.begin;
      attend_back<Vector>(context(pass, block, row, dropout), kept.mixed + at * width,
                          kept.logarithm + at * pass.heads, other + at * width, kept.projected + at * 3 * width,
                          space.weights.at(0), space.slopes.at(0), space.pairs.at(0));
    }
    Layer::backward(of.layers[0], kept.projected, tile.tokens, pass.norm_first ? other : rows, !pass.norm_first);
    if (!pass.norm_first) return;
    for (int64_t r = 0; r < tile.tokens; ++r) {
      float* by = other + r * width;
      normalise_back<Vector>(kept.in + r * width, by, width, first, by, sums);
      add<Vector>(by, rows + r * width, width);
    }
  }

  static void shares(const RsirPacked& pass, int64_t block, std::vector<Share>& shares) {
    const RsirPackedBlock& of = pass.blocks[block];
    const Kept kept(pass, block, 0);
    add_shares(of.layers[0], kept.projected, pass.norm_first ? kept.normed : kept.in, shares);
    add_shares(of.layers[1], kept.attended, kept.mixed, shares);
    add_shares(of.layers[2], kept.expanded, kept.fed, shares);
    add_shares(of.layers[3], kept.left, kept.active, shares);
  }

  static void finish(const RsirPacked& pass, int64_t block, const float* sums) {
    const RsirPackedBlock& of = pass.blocks[block];
    const RsirLayerNorm* norms[] = {&of.attention_norm, &of.feed_forward_norm};
    for (const RsirLayerNorm* norm : norms) {
      std::copy_n(sums, pass.width, norm->scale_gradient);
      std::copy_n(sums + pass.width, pass.width, norm->shift_gradient);
      sums += 2 * pass.width;
    }
  }

 private:
  // Leaves in `in` the slope of `out` by what stood there.
  RSIR_INLINE static void activate(const Dropout& dropout, int64_t seed, int64_t block, int64_t wide, float* in,
                                   float* out) {
    const uint32_t draws = dropout.stream(uint32_t(seed), site_of(block, 2));
    for (int64_t k = 0; k < wide; k += LANES<Vector>) {
      Active<Vector> x = gelu(load<Vector>(in + k));
      if (dropout.threshold != 0) {
        const Vector kept = dropout.template kept<Vector>(draws, k);
        x.value *= kept, x.slope *= kept;
      }
      store(out + k, x.value);
      store(in + k, x.slope);
    }
  }
};

}  // namespace rsir
