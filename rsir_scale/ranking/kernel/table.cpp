#include "table.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace rsir {
namespace {

constexpr int DEPTH_STEP = 32;  // what an AMX tile takes at once

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

int64_t pairs_of(int64_t items) { return (items + COLUMNS_PER_BLOCK - 1) / COLUMNS_PER_BLOCK; }

int64_t count_pairs(const int64_t* list_begin, int64_t lists) {
  int64_t pairs = 0;
  for (int64_t l = 0; l < lists; ++l) pairs += pairs_of(list_begin[l + 1] - list_begin[l]);
  return pairs;
}

int padded(int width) { return (width + DEPTH_STEP - 1) / DEPTH_STEP * DEPTH_STEP; }


}  // namespace

Table::Table(const float* vectors_, int64_t items_, int width_, const int32_t* order, const int64_t* list_begin,
             int64_t lists, const Instructions& instructions_)
    : instructions(instructions_),
      vectors(vectors_),
      items(items_),
      width(width_),
      depth(padded(width_)),
      pair_bytes(size_t(depth) * COLUMNS_PER_BLOCK * (instructions_.bfloat16 ? 2 : 4)),
      ids(size_t(count_pairs(list_begin, lists)) * COLUMNS_PER_BLOCK, 0),
      norm_from(size_t(count_pairs(list_begin, lists)), 0.f),
      panels(size_t(count_pairs(list_begin, lists)) * pair_bytes) {
  list_pairs.push_back(0);
  for (int64_t l = 0; l < lists; ++l) {
    const int64_t first = list_pairs.back(), count = list_begin[l + 1] - list_begin[l];
    const int64_t end = first + pairs_of(count);
    std::copy_n(order + list_begin[l], count, ids.begin() + first * COLUMNS_PER_BLOCK);
    for (int64_t p = end - 1; p >= first; --p) {
      char* panel = panels.data() + size_t(p) * pair_bytes;
      double norm = p + 1 < end ? norm_from[p + 1] : 0;
      for (int c = 0; c < COLUMNS_PER_BLOCK; ++c) {
        const int32_t id = ids[p * COLUMNS_PER_BLOCK + c];
        if (id == 0) continue;
        const float* item = vectors + size_t(id) * width;
        const size_t start = size_t(c / ITEMS_PER_PANEL) * depth * ITEMS_PER_PANEL, column = c % ITEMS_PER_PANEL;
        double square = 0, lost = 0;
        for (int k = 0; k < width; ++k) {
          float kept = item[k];
          if (instructions.bfloat16) {
            const uint16_t half = to_bfloat16(item[k]);
            kept = from_bfloat16(half);
            reinterpret_cast<uint16_t*>(panel)[start + (k / 2 * ITEMS_PER_PANEL + column) * 2 + k % 2] = half;
          } else {
            reinterpret_cast<float*>(panel)[start + k * ITEMS_PER_PANEL + column] = kept;
          }
          const double whole = std::max(std::fabs(double(item[k])), std::fabs(double(kept)));
          square += whole * whole;
          lost += (double(item[k]) - kept) * (double(item[k]) - kept);
        }
        norm = std::max(norm, std::sqrt(square));
        greatest_loss = std::max(greatest_loss, std::sqrt(lost));
      }
      norm_from[p] = std::nextafter(float(norm), INFINITY);
      greatest_norm = std::max(greatest_norm, double(norm_from[p]));
    }
    list_pairs.push_back(end);
  }
}

double Table::pack_query(const float* query, void* packed) const {
  std::memset(packed, 0, query_bytes());
  if (!instructions.bfloat16) {
    std::memcpy(packed, query, size_t(width) * 4);
    return 0;
  }
  double lost = 0;
  for (int k = 0; k < width; ++k) {
    const uint16_t half = to_bfloat16(query[k]);
    static_cast<uint16_t*>(packed)[k] = half;
    const double difference = double(query[k]) - from_bfloat16(half);
    lost += difference * difference;
  }
  return std::sqrt(lost);
}

}  // namespace rsir
