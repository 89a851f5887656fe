// One step's question and its answer, as plain arrays: the boundary with Python (ranking/compiled.py mirrors it).
// Rows, own items, banned items and candidates are as `ranking.base` defines them; item 0 is padding.
#pragma once

#include <cstdint>

extern "C" {

struct RsirQuestion {
  int64_t rows, own_width, banned_width, probe_width;
  const float* query;       // rows x width
  const int64_t* own;       // rows x own_width
  const uint8_t* vouching;  // rows x own_width
  const uint8_t* checked;   // rows
  const uint8_t* explore;   // rows
  const int64_t* banned;    // rows x banned_width
  const int32_t* probes;    // rows x probe_width, lists to scan; null for all
  int64_t rank_threshold;   // at least 1
  int64_t top_candidates;   // at most the number of items
  int64_t ranks_voucher;    // 1: `better` counts equal scores, too, and neither own nor banned items; see RankQuery
};

struct RsirAnswer {
  double* own_score;  // rows x own_width
  uint8_t* passed;    // rows
  int64_t* voucher;   // rows
  int64_t* better;    // rows
  int64_t* candidate;       // rows x top_candidates
  double* candidate_score;  // rows x top_candidates
};

// Name of the i-th set of instructions that this processor supports, best first; null after the last.
const char* rsir_instructions(int64_t i);

// Packs items 1..items for scanning. `vectors`, (items + 1) x width floats, must outlive the table. List l holds
// order[list_begin[l] .. list_begin[l + 1]]. Null when memory is short or the instructions are not supported.
void* rsir_table_new(const float* vectors, int64_t items, int32_t width, const int32_t* order,
                     const int64_t* list_begin, int64_t lists, const char* instructions);
void rsir_table_free(void* table);

// Answers every row. Returns 0, or 1 when memory is short, or 2 when a query is not finite.
int32_t rsir_search(const void* table, const RsirQuestion* question, const RsirAnswer* answer);
}
