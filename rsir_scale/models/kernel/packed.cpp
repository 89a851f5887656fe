// Blocks over packed contexts: tiles of whole contexts go through all blocks and back, a thread some of the tiles; then
// the gradients of weights are made, a thread some of their rows, each a sum over all tokens. So every sum runs in one
// order, whatever the number of threads.
#include "packed.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "hstu.h"
#include "threads.h"
#include "tiles.h"
#include "transformer.h"

namespace rsir {
namespace {

Dropout dropout_of(const RsirPacked& pass) { return {pass.threshold, pass.scale}; }

template <typename Vector, template <typename, int, int> typename Kind, int Q, int V>
RSIR_INLINE void forward_tiles(const RsirPacked& pass, const Tile* tiles, int64_t count, Space& space) {
  const Dropout dropout = dropout_of(pass);
  for (const Tile* tile = tiles; tile < tiles + count; ++tile) {
    float* rows = pass.out + tile->begin * pass.width;
    for (int64_t r = 0; r < tile->tokens; ++r)
      dropout.template apply<Vector>(uint32_t(pass.seed[tile->begin + r]), 0, pass.width,
                                     pass.in + (tile->begin + r) * pass.width, rows + r * pass.width);
    for (int64_t block = 0; block < pass.count; ++block)
      Kind<Vector, Q, V>::forward(pass, block, *tile, dropout, rows, space);
  }
}

// sums: of all tiles and blocks; `first` is the number of the first tile.
template <typename Vector, template <typename, int, int> typename Kind, int Q, int V>
RSIR_INLINE void backward_tiles(const RsirPacked& pass, const Tile* tiles, int64_t count, float* sums, Space& space) {
  const Dropout dropout = dropout_of(pass);
  const int64_t each = Kind<Vector, Q, V>::sums(pass);
  for (const Tile* tile = tiles; tile < tiles + count; ++tile, sums += pass.count * each) {
    float* rows = pass.in_gradient + tile->begin * pass.width;
    std::copy_n(pass.out_gradient + tile->begin * pass.width, tile->tokens * pass.width, rows);
    for (int64_t block = pass.count - 1; block >= 0; --block)
      Kind<Vector, Q, V>::backward(pass, block, *tile, dropout, rows, sums + block * each, space);
    for (int64_t r = 0; r < tile->tokens; ++r)
      dropout.template apply<Vector>(uint32_t(pass.seed[tile->begin + r]), 0, pass.width, rows + r * pass.width,
                                     rows + r * pass.width);
  }
}

template <typename Vector, template <typename, int, int> typename Kind, int Q, int V>
RSIR_INLINE void ends_of_tiles(const RsirPacked& pass, const Tile* tiles, int64_t count, Space& space, Alone& alone) {
  for (const Tile* tile = tiles; tile < tiles + count; ++tile) {
    RsirPacked own = alone.pass_of(pass, *tile);
    const Tile whole{0, own.rows, 0, tile->tokens};
    float* rows = alone.rows.at(0);
    for (int64_t block = 0; block + 1 < pass.count; ++block, ++own.blocks)
      Kind<Vector, Q, V>::forward(own, 0, whole, {0, 1.f}, rows, space);
    Kind<Vector, Q, V>::ends(own, whole, rows, space);
    std::copy_n(rows, own.rows * pass.width, pass.out + tile->first * pass.width);
  }
}

// The functions of one set of instructions for one kind of block.
struct Functions {
  int64_t (*numbers)(const RsirPacked&);
  int64_t (*sums)(const RsirPacked&);
  void (*forward)(const RsirPacked&, const Tile*, int64_t, Space&);
  void (*backward)(const RsirPacked&, const Tile*, int64_t, float*, Space&);
  void (*ends)(const RsirPacked&, const Tile*, int64_t, Space&, Alone&);
  void (*shares)(const RsirPacked&, int64_t, std::vector<Share>&);
  void (*gradient)(const Share&, int64_t);
  void (*finish)(const RsirPacked&, int64_t, const float*);
};

struct Instructions {
  const char* name;
  bool (*supported)();
  Functions transformer, hstu;
};

#define RSIR_KIND(NAME, KIND, TARGET, VECTOR, Q, V)                                                                     \
  TARGET void forward_##KIND##_##NAME(const RsirPacked& pass, const Tile* tiles, int64_t count, Space& space) {         \
    forward_tiles<VECTOR, KIND, Q, V>(pass, tiles, count, space);                                                       \
  }                                                                                                                     \
  TARGET void backward_##KIND##_##NAME(const RsirPacked& pass, const Tile* tiles, int64_t count, float* sums,           \
                                       Space& space) {                                                                  \
    backward_tiles<VECTOR, KIND, Q, V>(pass, tiles, count, sums, space);                                                \
  }                                                                                                                     \
  TARGET void ends_##KIND##_##NAME(const RsirPacked& pass, const Tile* tiles, int64_t count, Space& space,              \
                                   Alone& alone) {                                                                      \
    ends_of_tiles<VECTOR, KIND, Q, V>(pass, tiles, count, space, alone);                                                \
  }

#define RSIR_INSTANCE(NAME, TARGET, VECTOR, Q, V)                                                                       \
  RSIR_KIND(NAME, Transformer, TARGET, VECTOR, Q, V)                                                                    \
  RSIR_KIND(NAME, Hstu, TARGET, VECTOR, Q, V)                                                                           \
  TARGET void gradient_##NAME(const Share& share, int64_t tokens) {                                                     \
    Linear<VECTOR, Q, V>::gradient(*share.layer, share.by_out, share.in, tokens, share.begin, share.outputs);           \
  }

#define RSIR_FUNCTIONS(NAME, KIND)                                                                                      \
  {KIND<Float4, 4, 2>::numbers, KIND<Float4, 4, 2>::sums,   forward_##KIND##_##NAME, backward_##KIND##_##NAME,          \
   ends_##KIND##_##NAME,        KIND<Float4, 4, 2>::shares, gradient_##NAME,         KIND<Float4, 4, 2>::finish}

RSIR_INSTANCE(generic, , Float4, 4, 2)

#ifdef RSIR_X86
RSIR_INSTANCE(avx512, __attribute__((target("avx512f"))), Float16, 6, 4)
RSIR_INSTANCE(avx2, __attribute__((target("avx2,fma"))), Float8, 6, 2)
#endif

// Best first.
const Instructions ALL[] = {
#ifdef RSIR_X86
    {"avx512", has_avx512, RSIR_FUNCTIONS(avx512, Transformer), RSIR_FUNCTIONS(avx512, Hstu)},
    {"avx2", has_avx2, RSIR_FUNCTIONS(avx2, Transformer), RSIR_FUNCTIONS(avx2, Hstu)},
#endif
    {"generic", always, RSIR_FUNCTIONS(generic, Transformer), RSIR_FUNCTIONS(generic, Hstu)},
};

const Functions& functions_of(const char* name, const RsirPacked& pass) {
  const Instructions* found = ALL;
  for (const Instructions& one : ALL)
    if (std::strcmp(one.name, name) == 0) found = &one;
  return pass.hstu ? found->hstu : found->transformer;
}

std::vector<Space> spaces(const RsirPacked& pass, const std::vector<Tile>& tiles, int64_t threads) {
  std::vector<Space> spaces(std::max<int64_t>(1, std::min<int64_t>(threads, tiles.size())));
  for (Space& space : spaces) space.resize(pass, tiles);
  return spaces;
}

void forward(const Functions& with, const RsirPacked& pass, int64_t threads) {
  const std::vector<Tile> tiles = tiles_of(pass);
  std::vector<Space> space = spaces(pass, tiles, threads);
  in_parts(threads, tiles.size(), 1, [&](int64_t part, int64_t begin, int64_t end) {
    with.forward(pass, tiles.data() + begin, end - begin, space[part]);
  });
}

void backward(const Functions& with, const RsirPacked& pass, int64_t threads) {
  const std::vector<Tile> tiles = tiles_of(pass);
  const int64_t each = pass.count * with.sums(pass);
  std::vector<Space> space = spaces(pass, tiles, threads);
  std::vector<float> sums(std::max<int64_t>(1, tiles.size()) * each);
  std::vector<Share> shares;
  for (int64_t block = 0; block < pass.count; ++block) with.shares(pass, block, shares);
  in_parts(threads, tiles.size(), 1, [&](int64_t part, int64_t begin, int64_t end) {
    with.backward(pass, tiles.data() + begin, end - begin, sums.data() + begin * each, space[part]);
  });
  in_parts(threads, shares.size(), 1, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t share = begin; share < end; ++share) with.gradient(shares[share], tokens_of(pass));
  });
  for (size_t tile = 1; tile < tiles.size(); ++tile)
    for (int64_t k = 0; k < each; ++k) sums[k] += sums[tile * each + k];
  for (int64_t block = 0; block < pass.count; ++block) with.finish(pass, block, sums.data() + block * each / pass.count);
}

void ends(const Functions& with, const RsirPacked& pass, int64_t threads) {
  const std::vector<Tile> tiles = tiles_of(pass);
  std::vector<Space> space = spaces(pass, tiles, threads);
  std::vector<Alone> alone(space.size());
  for (Alone& one : alone) one.resize(pass, most_tokens(tiles), with.numbers);
  in_parts(threads, tiles.size(), 1, [&](int64_t part, int64_t begin, int64_t end) {
    with.ends(pass, tiles.data() + begin, end - begin, space[part], alone[part]);
  });
}

int32_t run(void (*work)(const Functions&, const RsirPacked&, int64_t), const char* name, const RsirPacked& pass,
            int64_t threads) {
  try {
    work(functions_of(name, pass), pass, threads);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace rsir

using namespace rsir;

const char* rsir_packed_instructions(int64_t i) {
  for (const Instructions& one : ALL)
    if (one.supported() && i-- == 0) return one.name;
  return nullptr;
}

int64_t rsir_packed_kept(const RsirPacked* pass) { return pass->count * functions_of("generic", *pass).numbers(*pass); }

int32_t rsir_packed_forward(const char* instructions, const RsirPacked* pass, int64_t threads) {
  return run(forward, instructions, *pass, threads);
}

int32_t rsir_packed_backward(const char* instructions, const RsirPacked* pass, int64_t threads) {
  return run(backward, instructions, *pass, threads);
}

int32_t rsir_packed_ends(const char* instructions, const RsirPacked* pass, int64_t threads) {
  return run(ends, instructions, *pass, threads);
}
