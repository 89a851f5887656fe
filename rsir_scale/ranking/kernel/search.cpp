// The search: a scan in low precision that certifies what it leaves out, and exact scores for what it lets through.
//
// For a row with query h and target score t (of its best vouching item), a packed score s' and the exact score s of an
// item differ by at most `band`. So an item with s' > t + band is better for sure, one with s' <= t - band is not, and
// the few between are scored exactly. Candidates are found alike: an item more than two bands below the wanted-th best
// packed score cannot be among the best. A row that has met `rank_threshold` better items is rejected and leaves.
#include "search.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "admission.h"
#include "row.h"
#include "table.h"

namespace rsir {
namespace {

constexpr int64_t ROWS_AT_A_TIME = 1024;
constexpr int64_t PAIRS_AT_A_TIME = 16;  // panels that stay in the first-level cache while all rows meet them
constexpr size_t LEAST_ROOM = 256;       // packed scores that a row may hold back

class Scan {
 public:
  Scan(const Table& table, const RsirQuestion& question, const RsirAnswer& answer, Workspace& space)
      : table_(table),
        question_(question),
        answer_(answer),
        space_(space),
        admission_(table, question.rank_threshold, space) {}

  // Whether all queries were finite; the answer means nothing otherwise.
  bool run() {
    table_.instructions.begin();
    for (int64_t first = 0; first < question_.rows; first += ROWS_AT_A_TIME) {
      first_ = first;
      const int64_t count = std::min(ROWS_AT_A_TIME, question_.rows - first);
      if (space_.rows.size() < size_t(count)) space_.rows.resize(count);
      for (int64_t r = 0; r < count; ++r) begin(r);
      if (!finite_) break;
      scan_lists(count);
      for (int64_t r = 0; r < count; ++r) finish(r);
    }
    table_.instructions.end();
    return finite_;
  }

 private:
  // ---- a row's beginning ----

  void begin(int64_t r) {
    Row& row = space_.rows[r];
    const int64_t global = first_ + r;
    const float* query = question_.query + global * table_.width;
    row.query.assign(query, query + table_.width);
    row.norm = norm_of(row.query);
    finite_ = finite_ && std::isfinite(row.norm);
    row.checked = question_.checked[global];
    row.explore = question_.explore[global];
    row.rejected = false;
    row.better = 0;
    row.held = 0;
    row.best_score.clear();
    row.best_item.clear();
    score_own(row, global);
    const int64_t voucher = answer_.voucher[global];
    if (row.checked && voucher == 0) {
      row.better = table_.items;
      row.rejected = true;
    }
    const int64_t* ban = question_.banned + global * question_.banned_width;
    row.banned.clear();
    for (int64_t i = 0; i < question_.banned_width; ++i)
      if (ban[i] != 0) row.banned.push_back(int32_t(ban[i]));
    if (question_.ranks_voucher) admission_.count_others(row);
    row.wanted = row.explore ? std::min<size_t>(question_.top_candidates + row.banned.size(), table_.items) : 0;
    row.room = std::max(LEAST_ROOM, 4 * row.wanted);
    const size_t most = row.room + (PAIRS_AT_A_TIME + 1) * COLUMNS_PER_BLOCK;
    if (row.held_score.size() < most) {
      row.held_score.resize(most);
      row.held_item.resize(most);
    }
  }

  void score_own(Row& row, int64_t global) {
    const int64_t* own = question_.own + global * question_.own_width;
    const uint8_t* vouching = question_.vouching + global * question_.own_width;
    double* score = answer_.own_score + global * question_.own_width;
    row.target = -std::numeric_limits<double>::infinity();
    answer_.voucher[global] = 0;
    space_.own.clear();
    for (int64_t i = 0; i < question_.own_width; ++i)
      if (own[i] != 0) space_.own.push_back(int32_t(own[i]));
    space_.exact.resize(space_.own.size());
    table_.instructions.exact(table_.vectors, table_.width, row.query.data(), space_.own.data(), space_.own.size(),
                              space_.exact.data());
    const double* exact = space_.exact.data();
    for (int64_t i = 0; i < question_.own_width; ++i) {
      score[i] = own[i] == 0 ? -std::numeric_limits<double>::infinity() : *exact++;
      if (vouching[i] && own[i] != 0 && score[i] > row.target) {
        row.target = score[i];
        answer_.voucher[global] = own[i];
      }
    }
  }

  // ---- the scan ----

  void scan_lists(int64_t count) {
    const int64_t lists = int64_t(table_.list_pairs.size()) - 1;
    prepare_floors(count);
    if (question_.probes == nullptr) {
      space_.live.clear();
      for (int64_t r = 0; r < count; ++r) space_.live.push_back(r);
      sort_live();
      for (int64_t l = 0; l < lists; ++l) scan_list(l, space_.live);
      return;
    }
    // Rows by the list that they probe: a counting sort.
    std::vector<int64_t> begin(lists + 1, 0);
    const int64_t width = question_.probe_width;
    const int32_t* probes = question_.probes + first_ * width;
    for (int64_t i = 0; i < count * width; ++i) ++begin[probes[i] + 1];
    for (int64_t l = 0; l < lists; ++l) begin[l + 1] += begin[l];
    space_.members.resize(count * width);
    std::vector<int64_t> next(begin.begin(), begin.end() - 1);
    for (int64_t i = 0; i < count * width; ++i) space_.members[next[probes[i]]++] = i / width;
    for (int64_t l = 0; l < lists; ++l) {
      if (begin[l] == begin[l + 1]) continue;
      space_.live.assign(space_.members.begin() + begin[l], space_.members.begin() + begin[l + 1]);
      scan_list(l, space_.live);
    }
  }

  void prepare_floors(int64_t count) {
    space_.floors.resize(count);
    const size_t bytes = table_.query_bytes();
    space_.packed.resize(size_t(count) * bytes);
    for (int64_t r = 0; r < count; ++r) {
      Row& row = space_.rows[r];
      const double lost = table_.pack_query(question_.query + (first_ + r) * table_.width, &space_.packed[r * bytes]);
      const double product = row.norm * table_.greatest_norm;
      // Losses of packing (Cauchy-Schwarz), then rounding of the sums of `depth` products in single precision.
      row.band = row.norm * table_.greatest_loss + lost * (table_.greatest_norm + table_.greatest_loss) +
                 (2 * table_.depth + 8) * 0x1p-24 * (product + lost * table_.greatest_norm) + 1e-30;
      row.sure = row.checked ? over(row.target + row.band) : INFINITE;
      row.doubt = row.checked ? below(row.target - row.band) : INFINITE;
      const bool idle = row.rejected || !(row.checked || row.explore);
      space_.floors[r] = idle ? INFINITE : row.explore ? -INFINITE : row.doubt;
    }
  }

  void scan_list(int64_t list, std::vector<int64_t>& live) {
    const int64_t begin = table_.list_pairs[list], end = table_.list_pairs[list + 1];
    for (int64_t pair = begin; pair < end; pair += PAIRS_AT_A_TIME) {
      if (drop_finished(live, table_.norm_from[pair]) || pair == begin) gather(live);
      if (live.empty()) return;
      const int pairs = int(std::min(end - pair, PAIRS_AT_A_TIME));
      for (size_t group = 0; group < live.size(); group += ROWS_PER_BLOCK) {
        table_.instructions.scan({
            .queries = space_.group_queries.data() + group * table_.query_bytes(),
            .floors = &space_.group_floors[group],
            .held = &space_.group_held[group],
            .panels = table_.pair(pair),
            .pair_bytes = table_.pair_bytes,
            .ids = &table_.ids[pair * COLUMNS_PER_BLOCK],
            .pairs = pairs,
            .depth = table_.depth,
        });
        const size_t last = std::min(live.size(), group + ROWS_PER_BLOCK);
        for (size_t i = group; i < last; ++i) {
          const int64_t r = live[i];
          if (space_.group_held[i].count == space_.rows[r].held) continue;
          admission_.admit(r, space_.group_held[i].count);
          space_.group_held[i].count = space_.rows[r].held;
          space_.group_floors[i] = space_.floors[r];
        }
      }
    }
  }

  // Takes out rows that no item from here on can concern, once they are worth the moving; says whether it did.
  bool drop_finished(std::vector<int64_t>& live, float norm_from) {
    const auto finished = [&](int64_t r) {
      return space_.rows[r].norm * norm_from + space_.rows[r].band <= space_.floors[r];
    };
    const int64_t count = std::count_if(live.begin(), live.end(), finished);
    if (count == 0 || (count < ROWS_PER_BLOCK / 2 && count < int64_t(live.size()))) return false;
    live.erase(std::remove_if(live.begin(), live.end(), finished), live.end());
    return true;
  }

  // Rows that explore, which have hits in nearly every panel, share blocks; the others pass theirs without a look.
  void sort_live() {
    std::stable_partition(space_.live.begin(), space_.live.end(), [&](int64_t r) { return space_.rows[r].explore; });
  }

  // Lays the packed queries and floors of the live rows side by side, filled up to whole blocks.
  void gather(const std::vector<int64_t>& live) {
    const size_t bytes = table_.query_bytes();
    const size_t room = (live.size() + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK * ROWS_PER_BLOCK;
    space_.group_queries.resize(room * bytes);
    space_.group_floors.assign(room, INFINITE);
    space_.group_held.assign(room, Held{});
    for (size_t i = 0; i < live.size(); ++i) {
      std::memcpy(space_.group_queries.data() + i * bytes, space_.packed.data() + live[i] * bytes, bytes);
      space_.group_floors[i] = space_.floors[live[i]];
      Row& row = space_.rows[live[i]];
      space_.group_held[i] = {row.held_score.data(), row.held_item.data(), row.held};
    }
    std::memset(space_.group_queries.data() + live.size() * bytes, 0, (room - live.size()) * bytes);
  }

  // ---- a row's end ----

  void finish(int64_t r) {
    Row& row = space_.rows[r];
    const int64_t global = first_ + r;
    if (!row.rejected && row.explore) admission_.raise_floor(r);
    if (!row.rejected) admission_.settle(r);
    const bool passed = !row.checked || !row.rejected;
    answer_.passed[global] = passed;
    answer_.better[global] = row.checked ? row.better : -1;
    if (!passed) {
      row.best_score.clear();
      row.best_item.clear();
    }
    write_candidates(row, global);
  }

  // The best first, banned items left out.
  void write_candidates(Row& row, int64_t global) {
    admission_.keep_best(row, true);
    int64_t* candidate = answer_.candidate + global * question_.top_candidates;
    double* score = answer_.candidate_score + global * question_.top_candidates;
    int64_t written = 0;
    for (size_t i = 0; i < row.best_item.size() && written < question_.top_candidates; ++i) {
      const int32_t item = row.best_item[i];
      if (std::find(row.banned.begin(), row.banned.end(), item) != row.banned.end()) continue;
      candidate[written] = item;
      score[written++] = row.best_score[i];
    }
    std::fill(candidate + written, candidate + question_.top_candidates, int64_t(0));
    std::fill(score + written, score + question_.top_candidates, -std::numeric_limits<double>::infinity());
  }

  const Table& table_;
  const RsirQuestion& question_;
  const RsirAnswer& answer_;
  Workspace& space_;
  Admission admission_;
  int64_t first_ = 0;
  bool finite_ = true;
};

}  // namespace
}  // namespace rsir

using namespace rsir;

const char* rsir_instructions(int64_t i) {
  for (size_t j = 0; j < INSTRUCTIONS_COUNT; ++j)
    if (INSTRUCTIONS[j]->supported() && i-- == 0) return INSTRUCTIONS[j]->name;
  return nullptr;
}

void* rsir_table_new(const float* vectors, int64_t items, int32_t width, const int32_t* order,
                     const int64_t* list_begin, int64_t lists, const char* instructions) {
  for (size_t j = 0; j < INSTRUCTIONS_COUNT; ++j) {
    if (std::strcmp(INSTRUCTIONS[j]->name, instructions) != 0 || !INSTRUCTIONS[j]->supported()) continue;
    try {
      return new Table(vectors, items, width, order, list_begin, lists, *INSTRUCTIONS[j]);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  return nullptr;
}

void rsir_table_free(void* table) { delete static_cast<Table*>(table); }

int32_t rsir_search(const void* table, const RsirQuestion* question, const RsirAnswer* answer) {
  static thread_local Workspace workspace;
  try {
    return Scan(*static_cast<const Table*>(table), *question, *answer, workspace).run() ? 0 : 2;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}
