// A row of a question while it is searched: its target, its bands, and what it holds back.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "instructions.h"

namespace rsir {

constexpr float INFINITE = std::numeric_limits<float>::infinity();

inline float below(double value) { return std::nextafter(std::nextafter(float(value), -INFINITE), -INFINITE); }
inline float over(double value) { return std::nextafter(std::nextafter(float(value), INFINITE), INFINITE); }

struct Scored {
  double score;
  int32_t item;
};

inline constexpr auto first_of = [](const Scored& a, const Scored& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
};

// In sums that do not wait for each other.
inline double norm_of(const std::vector<double>& vector) {
  constexpr size_t SUMS = 8;
  double squares[SUMS] = {};
  size_t k = 0;
  for (; k + SUMS <= vector.size(); k += SUMS)
    for (size_t sum = 0; sum < SUMS; ++sum) squares[sum] += vector[k + sum] * vector[k + sum];
  for (; k < vector.size(); ++k) squares[0] += vector[k] * vector[k];
  return std::sqrt(std::accumulate(squares, squares + SUMS, 0.0));
}

// One row under way. The floor, which every score is held against, is kept apart: see Workspace.
struct Row {
  bool checked = false;
  bool explore = false;
  bool rejected = false;
  size_t wanted = 0;       // best items to find: candidates, and as many as may be banned
  int64_t better = 0;      // items known to be better than the target; below 0: so many do not count
  double target = 0;       // exact score of the best vouching item; for a rank, the greatest number below it
  double norm = 0;         // of the query
  double band = 0;         // greatest difference of a packed and an exact score
  float sure = INFINITE;   // a packed score above it is better than the target
  float doubt = INFINITE;  // one at or below it is not
  uint32_t held = 0;
  size_t room = 0;  // for so many, after each look at them
  std::vector<float> held_score;
  std::vector<int32_t> held_item;
  std::vector<double> query;
  std::vector<int32_t> banned;
  std::vector<double> best_score;  // exact, of those that may be among the best wanted
  std::vector<int32_t> best_item;
};

// All rows of one call that share a thread's memory, kept from call to call.
struct Workspace {
  std::vector<Row> rows;
  std::vector<int64_t> live;
  std::vector<float> floors;
  std::vector<char> packed;         // queries in the table's precision
  std::vector<char> group_queries;  // those of the live rows, side by side
  std::vector<float> group_floors;
  std::vector<Held> group_held;
  std::vector<int32_t> own;
  std::vector<double> exact;
  std::vector<Scored> ordered;
  std::vector<int64_t> members;
};

}  // namespace rsir
