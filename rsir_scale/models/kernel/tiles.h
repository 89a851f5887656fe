// Whole contexts that are taken through all blocks together: as many tokens as a second-level cache holds with all that
// is computed of them. Which contexts share a tile depends on their lengths alone, never on threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "packed.h"
#include "pieces.h"
#include "product.h"

namespace rsir {

constexpr int64_t TOKENS_PER_TILE = 96;

struct Tile {
  int64_t first, last;     // contexts
  int64_t begin, tokens;
};

inline std::vector<Tile> tiles_of(const RsirPacked& pass) {
  std::vector<Tile> tiles;
  for (int64_t row = 0; row < pass.rows;) {
    Tile tile{row, row + 1, pass.offset[row], pass.offset[row + 1] - pass.offset[row]};
    while (tile.last < pass.rows && pass.offset[tile.last + 1] - tile.begin <= TOKENS_PER_TILE)
      tile.tokens = pass.offset[++tile.last] - tile.begin;
    tiles.push_back(tile);
    row = tile.last;
  }
  return tiles;
}

inline int64_t most_tokens(const std::vector<Tile>& tiles) {
  int64_t tokens = 0;
  for (const Tile& tile : tiles) tokens = std::max(tokens, tile.tokens);
  return tokens;
}

// What a thread works in.
struct Space {
  Lines one, two, wide;  // of a tile's tokens
  Lines weights, slopes, pairs;  // of a context's positions

  void resize(const RsirPacked& pass, const std::vector<Tile>& tiles) {
    const int64_t tokens = most_tokens(tiles);
    one.resize(tokens * pass.width);
    two.resize(tokens * pass.width);
    wide.resize(tokens * std::max(pass.feed_forward, 4 * pass.width));
    weights.resize(pass.longest + 16);
    slopes.resize(pass.longest + 16);
    pairs.resize(pass.longest * 2 * pass.width / pass.heads);
  }
};

// What a thread takes one tile after another through when nothing goes back: the tile as a pass of its own, of one block
// at a time, so that all of it stays in the cache.
struct Alone {
  Lines rows, kept;
  std::vector<int64_t> offset, seed;

  void resize(const RsirPacked& pass, int64_t tokens, int64_t (*numbers)(const RsirPacked&)) {
    offset = {0, tokens}, seed.resize(tokens), rows.resize(tokens * pass.width);
    RsirPacked greatest = pass;
    greatest.rows = 1, greatest.offset = offset.data();
    kept.resize(numbers(greatest));
  }

  // The first block's pass over a tile, whose rows are copied in.
  RsirPacked pass_of(const RsirPacked& pass, const Tile& tile) {
    offset.assign(pass.offset + tile.first, pass.offset + tile.last + 1);
    for (int64_t& begin : offset) begin -= tile.begin;
    std::copy_n(pass.in + tile.begin * pass.width, tile.tokens * pass.width, rows.at(0));
    RsirPacked alone = pass;
    alone.count = 1, alone.rows = tile.last - tile.first, alone.threshold = 0;
    alone.offset = offset.data(), alone.seed = seed.data(), alone.kept = kept.at(0);
    return alone;
  }
};

inline int64_t tokens_of(const RsirPacked& pass) { return pass.offset[pass.rows]; }

inline Norm norm_of(const RsirLayerNorm& norm) { return {norm.scale, norm.shift, norm.epsilon}; }

// Four places of a block where dropout may act; the blocks' input is place 0.
inline int64_t site_of(int64_t block, int64_t place) { return 1 + 4 * block + place; }

// A part of a layer's gradient: some outputs, of the rows that came in and the gradients of those that went out.
struct Share {
  const RsirLinear* layer;
  const float *by_out, *in;
  int64_t begin, outputs;
};

constexpr int64_t OUTPUTS_PER_SHARE = 48;

inline void add_shares(const RsirLinear& layer, const float* by_out, const float* in, std::vector<Share>& shares) {
  for (int64_t begin = 0; begin < layer.outputs; begin += OUTPUTS_PER_SHARE)
    shares.push_back({&layer, by_out, in, begin, std::min(OUTPUTS_PER_SHARE, layer.outputs - begin)});
}

}  // namespace rsir
