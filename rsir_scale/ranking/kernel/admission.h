// What the scan lets through: surely better items are counted, those in doubt scored exactly, the best wanted kept.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "row.h"
#include "table.h"

namespace rsir {

constexpr uint32_t FEW = 256;  // items that are sooner counted than sorted

class Admission {
 public:
  Admission(const Table& table, int64_t rank_threshold, Workspace& space)
      : table_(table), rank_threshold_(rank_threshold), space_(space) {}

  // Lets equal scores count, and takes off beforehand what the scan will count of own and banned items. The own ones are
  // those of the row whose beginning the workspace has seen last.
  void count_others(Row& row) {
    row.target = std::nextafter(row.target, -std::numeric_limits<double>::infinity());
    std::vector<int32_t>& left_out = space_.own;
    left_out.insert(left_out.end(), row.banned.begin(), row.banned.end());
    std::sort(left_out.begin(), left_out.end());
    left_out.erase(std::unique(left_out.begin(), left_out.end()), left_out.end());
    space_.exact.resize(left_out.size());
    table_.instructions.exact(table_.vectors, table_.width, row.query.data(), left_out.data(), left_out.size(),
                              space_.exact.data());
    const auto counts = [&](double score) { return score > row.target; };
    row.better -= std::count_if(space_.exact.begin(), space_.exact.end(), counts);
  }

  // Takes note of what a block added to a row's list, which now has `count` items.
  void admit(int64_t r, uint32_t count) {
    Row& row = space_.rows[r];
    const uint32_t before = row.held;
    row.held = count;
    if (row.checked) {
      if (row.explore) {
        for (uint32_t j = before; j < count; ++j) row.better += row.held_score[j] > row.sure;
      } else {
        count_sure(row, before);
      }
      if (row.better >= rank_threshold_) return reject(r);
    }
    if (row.held >= row.room) make_room(r);
  }

  // Lets go of held items that cannot be among the wanted ones, as far as packed scores can tell.
  void raise_floor(int64_t r) {
    Row& row = space_.rows[r];
    if (row.held < row.wanted) return;
    const float low = table_.instructions.reached_by(row.held_score.data(), row.held, uint32_t(row.wanted));
    const float floor = std::min(row.doubt, below(double(low) - 2 * row.band));
    if (!(floor > space_.floors[r])) return;
    space_.floors[r] = floor;
    Held held{row.held_score.data(), row.held_item.data(), row.held};
    table_.instructions.keep_above(held, floor);
    row.held = held.count;
  }

  // Scores the held items exactly: counts those in doubt, keeps the best wanted, and lets the rest go.
  void settle(int64_t r) {
    Row& row = space_.rows[r];
    if (row.held == 0) return;
    space_.exact.resize(row.held);
    table_.instructions.exact(table_.vectors, table_.width, row.query.data(), row.held_item.data(), row.held,
                              space_.exact.data());
    for (uint32_t j = 0; j < row.held; ++j) {
      const double score = space_.exact[j];
      if (row.checked && !(row.held_score[j] > row.sure) && score > row.target) ++row.better;
    }
    if (row.explore) {
      row.best_score.insert(row.best_score.end(), space_.exact.begin(), space_.exact.end());
      row.best_item.insert(row.best_item.end(), row.held_item.begin(), row.held_item.begin() + row.held);
    }
    row.held = 0;
    if (row.checked && row.better >= rank_threshold_) return reject(r);
  }

  // Lets go of the items scored exactly that are past the wanted: the last that stays is the wanted-th best, and those
  // before it are in order where that is asked for.
  void keep_best(Row& row, bool in_order) {
    const uint32_t count = uint32_t(row.best_score.size());
    const size_t kept = std::min<size_t>(count, row.wanted);
    space_.ordered.resize(count);
    if (count <= FEW) {
      place_few(row, count);
    } else {
      for (uint32_t i = 0; i < count; ++i) space_.ordered[i] = {row.best_score[i], row.best_item[i]};
      const auto begin = space_.ordered.begin();
      std::nth_element(begin, begin + (kept - 1), space_.ordered.end(), first_of);
      if (in_order) std::sort(begin, begin + kept, first_of);
    }
    row.best_score.resize(kept);
    row.best_item.resize(kept);
    for (size_t i = 0; i < kept; ++i) {
      row.best_score[i] = space_.ordered[i].score;
      row.best_item[i] = space_.ordered[i].item;
    }
  }

 private:
  // Counts the items that are surely better, which need not be scored exactly, and lets them go.
  static void count_sure(Row& row, uint32_t from) {
    uint32_t kept = from;
    for (uint32_t j = from; j < row.held; ++j) {
      const float score = row.held_score[j];
      row.held_score[kept] = score;
      row.held_item[kept] = row.held_item[j];
      kept += !(score > row.sure);
    }
    row.better += row.held - kept;
    row.held = kept;
  }

  void reject(int64_t r) {
    space_.rows[r].rejected = true;
    space_.rows[r].better = rank_threshold_;
    space_.rows[r].held = 0;
    space_.floors[r] = INFINITE;
  }

  void make_room(int64_t r) {
    Row& row = space_.rows[r];
    if (row.explore) raise_floor(r);
    if (row.held <= row.room / 2) return;
    settle(r);
    if (row.explore && !row.rejected) cut_best(r);
  }

  // Keeps the best wanted of the items scored exactly, and holds later ones against the last of them.
  void cut_best(int64_t r) {
    Row& row = space_.rows[r];
    if (row.best_score.size() < row.wanted) return;
    keep_best(row, false);
    space_.floors[r] = std::max(space_.floors[r], std::min(row.doubt, below(row.best_score.back() - row.band)));
  }

  // Each item goes where the number of higher scores tells: no branch hangs on a comparison. Equal scores, which are
  // told the same place, follow each other by item.
  void place_few(const Row& row, uint32_t count) {
    std::array<uint32_t, FEW> higher;
    table_.instructions.count_higher(row.best_score.data(), count, higher.data());
    std::fill(space_.ordered.begin(), space_.ordered.end(), Scored{0, 0});
    for (uint32_t i = 0; i < count; ++i) {
      Scored placed{row.best_score[i], row.best_item[i]};
      uint32_t place = higher[i];
      for (; space_.ordered[place].item != 0; ++place)
        if (placed.item < space_.ordered[place].item) std::swap(placed, space_.ordered[place]);
      space_.ordered[place] = placed;
    }
  }

  const Table& table_;
  const int64_t rank_threshold_;
  Workspace& space_;
};

}  // namespace rsir
