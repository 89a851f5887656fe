#include "table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace rsir {
namespace {

constexpr int DEPTH_STEP = 32;  // what an AMX tile takes at once
constexpr int MOST_STEPS = 127;

// Nearest bfloat16, ties to even; vectors are finite.
uint16_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float from_bfloat16(uint16_t half) {
  const uint32_t bits = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

float greatest_of(const float* vector, int width) {
  float greatest = 0;
  for (int k = 0; k < width; ++k) greatest = std::max(greatest, std::fabs(vector[k]));
  return greatest;
}

// The length of one step when `greatest` is MOST_STEPS of them; 0 where that is too small to be kept.
float step_of(float greatest) {
  const float step = greatest / MOST_STEPS;
  return std::isnormal(step) ? step : 0.f;
}

// The nearest whole number of steps. Adding and taking away a number whose last bit is worth 1 rounds without a call.
float in_steps(float value, float steps_per_unit) {
  constexpr float ROUND = 0x1.8p23f;
  return (value * steps_per_unit + ROUND) - ROUND;
}

float inverse(float step) { return step == 0 ? 0 : 1 / step; }

int value_bytes(Precision precision) {
  return precision == Precision::float32 ? 4 : precision == Precision::bfloat16 ? 2 : 1;
}

size_t panel_bytes(Precision precision, int depth) { return size_t(depth) * ITEMS_PER_PANEL * value_bytes(precision); }

size_t bytes_of_pair(Precision precision, int depth) {
  return 2 * panel_bytes(precision, depth) + (precision == Precision::int8 ? sizeof(PairTail) : 0);
}

int64_t pairs_of(int64_t items) { return (items + COLUMNS_PER_BLOCK - 1) / COLUMNS_PER_BLOCK; }

int64_t count_pairs(const int64_t* list_begin, int64_t lists) {
  int64_t pairs = 0;
  for (int64_t l = 0; l < lists; ++l) pairs += pairs_of(list_begin[l + 1] - list_begin[l]);
  return pairs;
}

int padded(int width) { return (width + DEPTH_STEP - 1) / DEPTH_STEP * DEPTH_STEP; }

// What a vector weighs and what it lost when `kept` was put in its place: norms, of sums that do not wait for each
// other.
struct Loss {
  double norm, lost;

  Loss(const float* vector, const float* kept, int width) {
    constexpr int SUMS = 8;
    double weights[SUMS] = {}, losses[SUMS] = {};
    const auto add = [&](int k, int sum) {
      const double whole = std::max(std::fabs(vector[k]), std::fabs(kept[k]));
      const double difference = double(vector[k]) - kept[k];
      weights[sum] += whole * whole;
      losses[sum] += difference * difference;
    };
    int k = 0;
    for (; k + SUMS <= width; k += SUMS)
      for (int sum = 0; sum < SUMS; ++sum) add(k + sum, sum);
    for (; k < width; ++k) add(k, k % SUMS);
    norm = std::sqrt(std::accumulate(weights, weights + SUMS, 0.0));
    lost = std::sqrt(std::accumulate(losses, losses + SUMS, 0.0));
  }
};

// Writes one item into its column of a panel, in steps of its pair. `kept` is room for a vector.
Loss pack_item(const float* item, int width, float step, Precision precision, void* panel, int column, float* kept) {
  if (precision == Precision::float32) {
    float* values = static_cast<float*>(panel);
    for (int k = 0; k < width; ++k) values[k * ITEMS_PER_PANEL + column] = kept[k] = item[k];
  } else if (precision == Precision::bfloat16) {
    uint16_t* values = static_cast<uint16_t*>(panel);
    for (int k = 0; k < width; ++k) {
      const uint16_t half = to_bfloat16(item[k]);
      values[(k / 2 * ITEMS_PER_PANEL + column) * 2 + k % 2] = half;
      kept[k] = from_bfloat16(half);
    }
  } else {
    uint8_t* values = static_cast<uint8_t*>(panel);
    const float steps_per_unit = inverse(step);
    for (int k = 0; k < width; ++k) kept[k] = in_steps(item[k], steps_per_unit);
    for (int k = 0; k < width; ++k)
      values[(k / 4 * ITEMS_PER_PANEL + column) * 4 + k % 4] = uint8_t(int(kept[k]) + 128);
    for (int k = 0; k < width; ++k) kept[k] *= step;
  }
  return Loss(item, kept, width);
}

}  // namespace

Table::Table(const float* vectors_, int64_t items_, int width_, const int32_t* order, const int64_t* list_begin,
             int64_t lists, const Instructions& instructions_)
    : instructions(instructions_),
      vectors(vectors_),
      items(items_),
      width(width_),
      depth(padded(width_)),
      pair_bytes(bytes_of_pair(instructions_.precision, depth)),
      ids(size_t(count_pairs(list_begin, lists)) * COLUMNS_PER_BLOCK, 0),
      norm_from(size_t(count_pairs(list_begin, lists)), 0.f),
      panels(size_t(count_pairs(list_begin, lists)) * pair_bytes) {
  list_pairs.push_back(0);
  std::vector<float> kept(width);
  for (int64_t l = 0; l < lists; ++l) {
    const int64_t first = list_pairs.back(), count = list_begin[l + 1] - list_begin[l];
    const int64_t end = first + pairs_of(count);
    std::copy_n(order + list_begin[l], count, ids.begin() + first * COLUMNS_PER_BLOCK);
    for (int64_t p = end - 1; p >= first; --p) {
      double norm = p + 1 < end ? norm_from[p + 1] : 0;
      const int32_t* pair_ids = &ids[p * COLUMNS_PER_BLOCK];
      char* pair_panels = panels.data() + size_t(p) * pair_bytes;
      if (p > first) fetch_ahead(pair_ids - COLUMNS_PER_BLOCK);
      const float step = pack_step(pair_ids, pair_panels);
      for (int c = 0; c < COLUMNS_PER_BLOCK; ++c) {
        if (pair_ids[c] == 0) continue;
        char* panel = pair_panels + c / ITEMS_PER_PANEL * panel_bytes(instructions.precision, depth);
        const float* item = vectors + size_t(pair_ids[c]) * width;
        const Loss loss =
            pack_item(item, width, step, instructions.precision, panel, c % ITEMS_PER_PANEL, kept.data());
        norm = std::max(norm, loss.norm);
        greatest_loss = std::max(greatest_loss, loss.lost);
      }
      norm_from[p] = std::nextafter(float(norm), INFINITY);
      greatest_norm = std::max(greatest_norm, double(norm_from[p]));
    }
    list_pairs.push_back(end);
  }
}

// Asks for the vectors of a pair before its turn: in the order of the norms they lie anywhere.
void Table::fetch_ahead(const int32_t* pair_ids) const {
  for (int c = 0; c < COLUMNS_PER_BLOCK; ++c)
    for (int k = 0; k < width; k += 16) __builtin_prefetch(vectors + size_t(pair_ids[c]) * width + k);
}

// One scale for a pair, so that one bound for its sums serves all of its items. They have nearly the same norm.
float Table::pack_step(const int32_t* pair_ids, char* pair_panels) const {
  if (instructions.precision != Precision::int8) return 0;
  float greatest = 0;
  for (int c = 0; c < COLUMNS_PER_BLOCK; ++c)
    if (pair_ids[c] != 0) greatest = std::max(greatest, greatest_of(vectors + size_t(pair_ids[c]) * width, width));
  const PairTail tail{step_of(greatest)};
  std::memcpy(pair_panels + pair_bytes - sizeof tail, &tail, sizeof tail);
  return tail.step;
}

size_t Table::query_bytes() const {
  const size_t values = size_t(depth) * value_bytes(instructions.precision);
  return values + (instructions.precision == Precision::int8 ? sizeof(QueryTail) : 0);
}

double Table::pack_query(const float* query, void* packed) const {
  std::memset(packed, 0, query_bytes());
  if (instructions.precision == Precision::float32) {
    std::memcpy(packed, query, size_t(width) * sizeof(float));
    return 0;
  }
  std::vector<float> kept(width);
  if (instructions.precision == Precision::bfloat16) {
    for (int k = 0; k < width; ++k) {
      const uint16_t half = to_bfloat16(query[k]);
      static_cast<uint16_t*>(packed)[k] = half;
      kept[k] = from_bfloat16(half);
    }
  } else {
    const float step = step_of(greatest_of(query, width)), steps_per_unit = inverse(step);
    int32_t excess = 0;
    for (int k = 0; k < width; ++k) {
      const float steps = in_steps(query[k], steps_per_unit);
      static_cast<int8_t*>(packed)[k] = int8_t(steps);
      excess -= 128 * int(steps);
      kept[k] = steps * step;
    }
    const QueryTail tail{excess, step};
    std::memcpy(static_cast<char*>(packed) + depth, &tail, sizeof tail);
  }
  return Loss(query, kept.data(), width).lost;
}

}  // namespace rsir
