// What a processor does for the scan: one block of approximate scores, and which of them exceed a floor.
//
// A panel holds ITEMS_PER_PANEL item vectors, depth-major, so that one instruction meets sixteen items. A block is the
// scores of ROWS_PER_BLOCK queries against two neighbouring panels, 32 x 32 floats, row by row.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rsir {

constexpr int ITEMS_PER_PANEL = 16;
constexpr int ROWS_PER_BLOCK = 32;
constexpr int COLUMNS_PER_BLOCK = 2 * ITEMS_PER_PANEL;

// How queries and panels are kept. Neighbouring depths that one instruction multiplies lie side by side: two bfloat16,
// four bytes. Bytes are steps of a scale of each vector's own, which follows it: see `table.cpp`.
enum class Precision { float32, bfloat16, int8 };

struct Instructions {
  const char* name;
  Precision precision;
  bool (*supported)();      // may be asked on any thread; also asks the system for what needs permission
  void (*begin)();          // before the first block on a thread
  void (*end)();            // after the last
  // queries: ROWS_PER_BLOCK x depth, row-major. panels: two, each depth x ITEMS_PER_PANEL; scales after either.
  void (*block)(const void* queries, const void* panels, int depth, float* scores);
  // masks[row]: bit c is set where the score in column c exceeds the row's floor. Returns the rows with any.
  uint32_t (*above)(const float* scores, const float* floors, uint32_t* masks);
  // The same for one row.
  uint32_t (*above_one)(const float* scores, float floor);
  // Appends the columns in `mask` to two lists that have room for a whole row; returns how many.
  uint32_t (*append)(const float* scores, const int32_t* items, uint32_t mask, float* held_scores,
                     int32_t* held_items);
  // A value that at least `wanted` of `count` scores reach, close to the greatest such value.
  float (*reached_by)(const float* scores, uint32_t count, uint32_t wanted);
  // Exact scores: float64 inner products of float vectors, summed in the order that ranking/score.py defines.
  void (*exact)(const float* vectors, int width, const double* query, const int32_t* items, size_t count,
                double* scores);
};

// Best first; ends with one that any processor supports.
extern const Instructions* const INSTRUCTIONS[];
extern const size_t INSTRUCTIONS_COUNT;

}  // namespace rsir
