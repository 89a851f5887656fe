// Softmax cross-entropy over a table of items, forward and backward in one pass over the table.
//
// Rows are taken in chunks. For each panel of columns a chunk's scores are computed, turned into powers of e against the
// greatest score so far, and mixed into the query's gradient at once; they are kept, and once a row's total is known the
// panel's items get their share of the gradient. So each score and each power is computed once, memory is that of a
// chunk and of the table once more, and all three products are the same small tile of registers. Sums run in one order,
// whatever the number of threads.
#include "softmax.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "../../models/kernel/product.h"
#include "../../models/kernel/threads.h"
#include "../../models/kernel/vectors.h"

namespace rsir {
namespace {

constexpr int64_t PANEL = 384;                 // columns that stay in the second-level cache with their gradients
constexpr int64_t TILE = 64;                   // columns, of the widest tile; a panel is whole tiles
constexpr int64_t STRIDE = PANEL + 16;         // between its rows: 25 lines; 24 apart, rows would share an eighth of a cache
constexpr int64_t KEPT = int64_t(1) << 22;     // scores kept for a chunk: 16 MiB
constexpr int64_t LEAST_ROWS = 48;             // of a chunk, however many columns there are
constexpr float HIDDEN = -1e30f, FLOOR = -1e29f;  // a score that counts for nothing; less than any that counts

// What a chunk of rows needs until its totals are known.
struct Chunk {
  Lines powers;                  // panels x rows x STRIDE: e^(score - reference)
  std::vector<float> reference;  // panels x rows
  std::vector<float> greatest, total;  // rows: of the panels so far, and the sum of powers against it
};

// What calls work in, one after another.
struct Workspace {
  Chunk chunk;
  Lines packed;               // panels x width x STRIDE: the table, each panel transposed
  std::vector<Lines> scaled;  // threads; rows of a chunk x width
};

int64_t panels_of(const RsirSoftmax& at) { return (at.columns + PANEL - 1) / PANEL; }

int64_t chunk_rows(const RsirSoftmax& at) {
  return std::min(at.rows, std::max(LEAST_ROWS, KEPT / (panels_of(at) * PANEL) / LEAST_ROWS * LEAST_ROWS));
}

int64_t columns_of(const RsirSoftmax& at, int64_t panel) { return std::min(PANEL, at.columns - panel * PANEL); }

// Columns of a panel with those that fill its last tile.
int64_t filled(int64_t columns) { return (columns + TILE - 1) / TILE * TILE; }

void pack(const RsirSoftmax& at, int64_t panel, float* packed) {
  const float* table = at.table + panel * PANEL * at.width;
  for (int64_t n = 0; n < PANEL; ++n)
    for (int64_t k = 0; k < at.width; ++k)
      packed[k * STRIDE + n] = n < columns_of(at, panel) ? table[n * at.width + k] : 0.f;
}

void hide(const RsirSoftmax& at, int64_t row, int64_t first, int64_t columns, float* scores) {
  std::fill(scores + columns, scores + filled(columns), HIDDEN);
  if (at.hidden_offset == nullptr) return;
  for (int64_t i = at.hidden_offset[row]; i < at.hidden_offset[row + 1]; ++i) {
    const int64_t column = at.hidden_column[i] - first;
    if (column >= 0 && column < columns) scores[column] = HIDDEN;
  }
}

template <typename Vector>
RSIR_INLINE float greatest_of(const float* scores, int64_t columns) {
  Vector most = load<Vector>(scores);
  for (int64_t n = LANES<Vector>; n < columns; n += LANES<Vector>) {
    const Vector next = load<Vector>(scores + n);
    most = next > most ? next : most;
  }
  float greatest = most[0];
  for (int64_t lane = 1; lane < LANES<Vector>; ++lane) greatest = std::max(greatest, most[lane]);
  return greatest;
}

// Turns a panel's scores into powers against `reference`; returns their sum.
template <typename Vector>
RSIR_INLINE float powers_of(float reference, int64_t columns, float* scores) {
  Vector sum = {};
  for (int64_t n = 0; n < columns; n += LANES<Vector>) {
    const Vector power = exponential(load<Vector>(scores + n) - reference);
    store(scores + n, power);
    sum += power;
  }
  return sum_of(sum);
}

// Moves a row's reference up to the greatest of the scores, so that powers never overflow.
template <typename Vector>
RSIR_INLINE void raise(const RsirSoftmax& at, float greatest, int64_t row, int64_t panel, float& reference,
                       float& total) {
  const float before = reference;
  reference = std::max({before, greatest, FLOOR});
  if (panel == 0 || reference == before) return;
  const float less = std::exp(before - reference);
  total *= less;
  float* mixed = at.query_gradient + row * at.width;
  for (int64_t k = 0; k < at.width; k += LANES<Vector>) store(mixed + k, load<Vector>(mixed + k) * less);
}

// Scores, powers and mixed item vectors of rows [begin, end) of a chunk that starts at `first_row`.
template <typename Vector, int Q, int V>
RSIR_INLINE void forward(const RsirSoftmax& at, int64_t first_row, int64_t chunk, int64_t begin, int64_t end,
                         Chunk& kept, const Lines& packed) {
  for (int64_t panel = 0; panel < panels_of(at); ++panel) {
    const int64_t first = panel * PANEL, columns = columns_of(at, panel);
    for (int64_t r = begin; r < end; r += Q) {
      const int64_t rows = std::min<int64_t>(Q, end - r), row = first_row + r;
      float* scores = kept.powers.at((panel * chunk + r) * STRIDE);
      product<Vector, Q, V>(at.query + row * at.width, at.width, 1, rows, at.width,
                            packed.at(panel * at.width * STRIDE), STRIDE, filled(columns), scores, STRIDE);
      for (int64_t q = 0; q < rows; ++q) {
        float* own = scores + q * STRIDE;
        float &reference = kept.greatest[r + q], &total = kept.total[r + q];
        hide(at, row + q, first, columns, own);
        if (panel == 0) reference = FLOOR, total = 0;
        raise<Vector>(at, greatest_of<Vector>(own, filled(columns)), row + q, panel, reference, total);
        total += powers_of<Vector>(reference, filled(columns), own);
        kept.reference[panel * chunk + r + q] = reference;
      }
      float* mixed = at.query_gradient + row * at.width;
      product<Vector, Q, V>(scores, STRIDE, 1, rows, columns, at.table + first * at.width, at.width, at.width, mixed,
                            at.width, panel > 0 ? From{mixed, at.width} : From{});
    }
  }
}

// Losses, and gradients by query and target, from a row's total; leaves in `greatest` the logarithm of the whole sum.
template <typename Vector>
RSIR_INLINE void finish(const RsirSoftmax& at, int64_t first_row, int64_t begin, int64_t end, Chunk& kept) {
  for (int64_t r = begin; r < end; ++r) {
    const int64_t row = first_row + r;
    const float target = at.target[row], columns = kept.greatest[r] + std::log(kept.total[r]);
    float whole = columns;
    if (!at.target_in_table)
      whole = std::max(columns, target) + std::log1p(std::exp(-std::fabs(columns - target)));
    at.loss[row] = whole - target;
    at.target_gradient[row] = at.weight[row] * ((at.target_in_table ? 0.f : std::exp(target - whole)) - 1.f);
    const float share = at.weight[row] * std::exp(kept.greatest[r] - whole);
    float* mixed = at.query_gradient + row * at.width;
    for (int64_t k = 0; k < at.width; k += LANES<Vector>) store(mixed + k, load<Vector>(mixed + k) * share);
    kept.greatest[r] = whole;
  }
}

// What a chunk adds to the gradients of the items of panels [begin, end).
template <typename Vector, int Q, int V>
RSIR_INLINE void backward(const RsirSoftmax& at, int64_t first_row, int64_t chunk, int64_t begin, int64_t end,
                          const Chunk& kept, float* scaled) {
  for (int64_t panel = begin; panel < end; ++panel) {
    for (int64_t r = 0; r < chunk; ++r) {
      const float share = at.weight[first_row + r] * std::exp(kept.reference[panel * chunk + r] - kept.greatest[r]);
      const float* query = at.query + (first_row + r) * at.width;
      for (int64_t k = 0; k < at.width; k += LANES<Vector>)
        store(scaled + r * at.width + k, load<Vector>(query + k) * share);
    }
    float* gradient = at.table_gradient + panel * PANEL * at.width;
    product<Vector, Q, V>(kept.powers.at(panel * chunk * STRIDE), 1, STRIDE, columns_of(at, panel), chunk, scaled,
                          at.width, at.width, gradient, at.width, first_row > 0 ? From{gradient, at.width} : From{});
  }
}

using Rows = void (*)(const RsirSoftmax&, int64_t, int64_t, int64_t, int64_t, Chunk&, const Lines&);
using Panels = void (*)(const RsirSoftmax&, int64_t, int64_t, int64_t, int64_t, const Chunk&, float*);

struct Instructions {
  const char* name;
  bool (*supported)();
  int64_t rows_per_tile;
  Rows rows;
  Panels panels;
};

#define RSIR_INSTANCE(NAME, TARGET, VECTOR, Q, V)                                                                     \
  TARGET void rows_##NAME(const RsirSoftmax& at, int64_t first_row, int64_t chunk, int64_t begin, int64_t end,        \
                          Chunk& kept, const Lines& packed) {                                                         \
    forward<VECTOR, Q, V>(at, first_row, chunk, begin, end, kept, packed);                                            \
    finish<VECTOR>(at, first_row, begin, end, kept);                                                                  \
  }                                                                                                                   \
  TARGET void panels_##NAME(const RsirSoftmax& at, int64_t first_row, int64_t chunk, int64_t begin, int64_t end,      \
                            const Chunk& kept, float* scaled) {                                                       \
    backward<VECTOR, Q, V>(at, first_row, chunk, begin, end, kept, scaled);                                           \
  }

RSIR_INSTANCE(generic, , Float4, 4, 2)

#ifdef RSIR_X86
RSIR_INSTANCE(avx512, __attribute__((target("avx512f"))), Float16, 6, 4)
RSIR_INSTANCE(avx2, __attribute__((target("avx2,fma"))), Float8, 6, 2)
#endif

// Best first.
const Instructions ALL[] = {
#ifdef RSIR_X86
    {"avx512", has_avx512, 6, rows_avx512, panels_avx512},
    {"avx2", has_avx2, 6, rows_avx2, panels_avx2},
#endif
    {"generic", always, 4, rows_generic, panels_generic},
};

void make_room(const RsirSoftmax& at, int64_t threads, Workspace& space) {
  const int64_t rows = chunk_rows(at), panels = panels_of(at);
  space.chunk.powers.resize(panels * rows * STRIDE);
  space.chunk.reference.resize(panels * rows);
  space.chunk.greatest.resize(rows);
  space.chunk.total.resize(rows);
  space.packed.resize(panels * at.width * STRIDE);
  space.scaled.resize(std::max<int64_t>(int64_t(space.scaled.size()), threads));
  for (Lines& one : space.scaled) one.resize(rows * at.width);
}

void run(const Instructions& with, const RsirSoftmax& at, int64_t threads) {
  static thread_local Workspace own;
  Workspace& space = own;  // a thread_local is another one inside the threads
  make_room(at, threads, space);
  const int64_t most = chunk_rows(at), panels = panels_of(at);
  in_parts(threads, panels, 1, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) pack(at, panel, space.packed.at(panel * at.width * STRIDE));
  });
  for (int64_t first = 0; first < at.rows; first += most) {
    const int64_t rows = std::min(most, at.rows - first);
    in_parts(threads, rows, with.rows_per_tile, [&](int64_t, int64_t begin, int64_t end) {
      with.rows(at, first, rows, begin, end, space.chunk, space.packed);
    });
    in_parts(threads, panels, 1, [&](int64_t part, int64_t begin, int64_t end) {
      with.panels(at, first, rows, begin, end, space.chunk, space.scaled[part].at(0));
    });
  }
}

}  // namespace
}  // namespace rsir

using namespace rsir;

const char* rsir_softmax_instructions(int64_t i) {
  for (const Instructions& one : ALL)
    if (one.supported() && i-- == 0) return one.name;
  return nullptr;
}

int32_t rsir_softmax_sum(const char* instructions, const RsirSoftmax* problem, int64_t threads) {
  for (const Instructions& one : ALL)
    if (std::strcmp(one.name, instructions) == 0) try {
        run(one, *problem, threads);
        return 0;
      } catch (const std::bad_alloc&) {
        return 1;
      }
  return 2;
}
