// The item table, packed for scanning: panels of sixteen items in the precision of the instructions, list by list.
#pragma once

#include <cstdint>
#include <vector>

#include "instructions.h"

namespace rsir {

// Memory whose start fits any vector load.
template <typename T>
class Aligned {
 public:
  explicit Aligned(size_t count) : raw_(count * sizeof(T) + 64) {}
  T* data() { return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(raw_.data()) + 63) & ~uintptr_t(63)); }
  const T* data() const { return const_cast<Aligned*>(this)->data(); }

 private:
  std::vector<char> raw_;
};

struct Table {
  Table(const float* vectors, int64_t items, int width, const int32_t* order, const int64_t* list_begin,
        int64_t lists, const Instructions& instructions);

  const char* pair(int64_t p) const { return panels.data() + size_t(p) * pair_bytes; }
  // Rounds a query to the table's precision, padded to `depth`; returns the norm of what was lost.
  double pack_query(const float* query, void* packed) const;
  size_t query_bytes() const;
  void fetch_ahead(const int32_t* pair_ids) const;
  float pack_step(const int32_t* pair_ids, char* pair_panels) const;

  const Instructions& instructions;
  const float* vectors;
  int64_t items;
  int width;
  int depth;                        // width, padded with zeros as the instructions want
  size_t pair_bytes;                // of two panels
  std::vector<int64_t> list_pairs;  // list l is scanned as pairs list_pairs[l] .. list_pairs[l + 1]
  std::vector<int32_t> ids;         // of each column of each pair; 0 in padding
  std::vector<float> norm_from;     // greatest norm in a pair and those after it in its list
  Aligned<char> panels;
  double greatest_norm = 0;         // of a packed item
  double greatest_loss = 0;         // norm of what an item lost by packing
};

}  // namespace rsir
