// What a processor does for the scan: approximate scores of a block, of which those above a floor are listed.
//
// A panel holds ITEMS_PER_PANEL item vectors, depth-major, so that one instruction meets sixteen items. A block is
// ROWS_PER_BLOCK queries against two neighbouring panels, a pair.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rsir {

constexpr int ITEMS_PER_PANEL = 16;
constexpr int ROWS_PER_BLOCK = 32;
constexpr int COLUMNS_PER_BLOCK = 2 * ITEMS_PER_PANEL;

// How queries and panels are kept. Neighbouring depths that one instruction multiplies lie side by side: two bfloat16,
// four bytes. Bytes are steps of a scale, one for each query and one for each pair, which follow them: see `table.cpp`.
enum class Precision { float32, bfloat16, int8 };

// What follows the bytes of a query, and of a pair.
struct QueryTail {
  int32_t excess;  // what each sum begins with, since items are kept 128 above their steps
  float step;
};
struct alignas(64) PairTail {
  float step;
};

// What a row has let through: approximate scores and their items.
struct Held {
  float* scores;
  int32_t* items;
  uint32_t count;
};

// Some rows, and the pairs that they are to meet.
struct Block {
  const void* queries;  // ROWS_PER_BLOCK of them, row-major, `depth` values and what follows them
  const float* floors;  // of each row
  Held* held;           // of each row; a row whose floor is infinite needs no room
  const char* panels;
  size_t pair_bytes;
  const int32_t* ids;  // of each column of each pair; 0 in padding, which is never listed
  int pairs;
  int depth;
};

struct Instructions {
  const char* name;
  Precision precision;
  bool (*supported)();  // may be asked on any thread; also asks the system for what needs permission
  void (*begin)();      // before the first block on a thread
  void (*end)();        // after the last
  // Lists every item whose score exceeds its row's floor, and perhaps some that come close to it. Each row's list has
  // room for all items of the block, and for COLUMNS_PER_BLOCK more.
  void (*scan)(const Block& block);
  // A value that at least `wanted` of `count` scores reach, close to the greatest such value.
  float (*reached_by)(const float* scores, uint32_t count, uint32_t wanted);
  // Takes out of a list what does not exceed the floor.
  void (*keep_above)(Held& held, float floor);
  // Exact scores: float64 inner products of float vectors, summed in the order that ranking/score.py defines.
  void (*exact)(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                double* scores);
  // How many of the scores are higher than each.
  void (*count_higher)(const double* scores, uint32_t count, uint32_t* higher);
};

// Best first; ends with one that any processor supports.
extern const Instructions* const INSTRUCTIONS[];
extern const size_t INSTRUCTIONS_COUNT;

}  // namespace rsir
