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
    const Kept kept(pass, block, tile.begin);
    std::copy_n(rows, tile.tokens * pass.width, kept.in);
    Layer::forward(pass.blocks[block].layers[0], before_attention(pass, block, tile, kept), tile.tokens, kept.projected);
    for (int64_t row = tile.first; row < tile.last; ++row)
      attend_from(pass, block, row, pass.offset[row] - tile.begin, 0, dropout, kept, space);
    after_attention(pass, block, tile.tokens, pass.seed + tile.begin, dropout, kept, rows, space);
  }

  // The same of a tile that is a pass of its own, for the last token of each context alone. rows: what comes in; the first
  // ones then hold what goes out. What the other tokens would ask and hand on is not computed.
  RSIR_INLINE static void ends(const RsirPacked& pass, const Tile& tile, float* rows, Space& space) {
    const int64_t width = pass.width;
    const RsirLinear& project_in = pass.blocks[0].layers[0];
    const Dropout none{0, 1.f};
    const Kept kept(pass, 0, 0);
    std::copy_n(rows, tile.tokens * width, kept.in);
    const float* normed = before_attention(pass, 0, tile, kept);
    Layer::forward(project_in, normed, tile.tokens, width, 3 * width, kept.projected);
    for (int64_t row = 0; row < tile.last; ++row) {
      const int64_t last = pass.offset[row + 1] - 1;
      Layer::forward(project_in, normed + last * width, 1, 0, width, kept.projected + last * 3 * width);
      attend_from(pass, 0, row, pass.offset[row], last - pass.offset[row], none, kept, space);
      std::copy_n(kept.in + last * width, width, rows + row * width);
      std::copy_n(kept.mixed + last * width, width, kept.left + row * width);
    }
    std::copy_n(kept.left, tile.last * width, kept.mixed);
    after_attention(pass, 0, tile.last, pass.seed, none, kept, rows, space);
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
  // What the block projects to queries, keys and values.
  RSIR_INLINE static const float* before_attention(const RsirPacked& pass, int64_t block, const Tile& tile,
                                                   const Kept& kept) {
    if (!pass.norm_first) return kept.in;
    const Norm norm = norm_of(pass.blocks[block].attention_norm);
    for (int64_t at = 0; at < tile.tokens * pass.width; at += pass.width)
      normalise<Vector>(kept.in + at, pass.width, norm, kept.normed + at);
    return kept.normed;
  }

  // at: where the context begins in the tile; first: the position from which on it is mixed.
  RSIR_INLINE static void attend_from(const RsirPacked& pass, int64_t block, int64_t row, int64_t at, int64_t first,
                                      const Dropout& dropout, const Kept& kept, Space& space) {
    attend<Vector>(context(pass, block, row, dropout), first, kept.projected + at * 3 * pass.width, space.weights.at(0),
                   kept.mixed + at * pass.width, kept.logarithm + at * pass.heads);
  }

  // rows: what came into the block, and then what goes out, for so many tokens.
  RSIR_INLINE static void after_attention(const RsirPacked& pass, int64_t block, int64_t tokens, const int64_t* seed,
                                          const Dropout& dropout, const Kept& kept, float* rows, Space& space) {
    const RsirPackedBlock& of = pass.blocks[block];
    const int64_t width = pass.width, wide = pass.feed_forward;
    const Norm first = norm_of(of.attention_norm), second = norm_of(of.feed_forward_norm);
    float* other = space.two.at(0);
    Layer::forward(of.layers[1], kept.mixed, tokens, other);
    for (int64_t r = 0; r < tokens; ++r) {
      float *attended = kept.attended + r * width, *fed = kept.fed + r * width;
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 1), width, other + r * width, attended);
      add<Vector>(rows + r * width, attended, width);
      normalise<Vector>(attended, width, pass.norm_first ? second : first, fed);
    }
    Layer::forward(of.layers[2], kept.fed, tokens, kept.expanded);
    for (int64_t r = 0; r < tokens; ++r)
      activate(dropout, seed[r], block, wide, kept.expanded + r * wide, kept.active + r * wide);
    Layer::forward(of.layers[3], kept.active, tokens, other);
    for (int64_t r = 0; r < tokens; ++r) {
      float *left = kept.left + r * width, *out = rows + r * width;
      dropout.template apply<Vector>(uint32_t(seed[r]), site_of(block, 3), width, other + r * width, left);
      add<Vector>((pass.norm_first ? kept.attended : kept.fed) + r * width, left, width);
      if (pass.norm_first)
        std::copy_n(left, width, out);
      else
        normalise<Vector>(left, width, second, out);
    }
  }

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
