// AMX: tiles of 16 x 16 sums of bfloat16 products, two by two to a block. A thread holds the tiles while it scans.
#include "avx512.h"

#ifdef RSIR_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "portable.h"

namespace rsir {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool bf16 = d >> 22 & 1, tile = d >> 24 & 1;
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  return bf16 && tile && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

__attribute__((target("amx-tile"))) void begin_amx() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  // GCC 12 takes the instruction to read 8 bytes only, and would drop the other stores.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

__attribute__((target("amx-tile"))) void end_amx() { _tile_release(); }

__attribute__((target("amx-tile,amx-bf16"))) void scores_amx(const void* queries, const void* panels, int depth,
                                                            float* scores) {
  const char* upper = static_cast<const char*>(queries);
  const size_t stride = size_t(depth) * 2;
  const char* lower = upper + 16 * stride;
  const char* first = static_cast<const char*>(panels);
  const char* second = first + size_t(depth) * ITEMS_PER_PANEL * 2;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int k = 0; k < depth; k += 32) {
    _tile_loadd(4, upper + k * 2, stride);
    _tile_loadd(6, first + k * 32, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, second + k * 32, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower + k * 2, stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  constexpr int BYTES = COLUMNS_PER_BLOCK * sizeof(float);
  _tile_stored(0, scores, BYTES);
  _tile_stored(1, scores + 16, BYTES);
  _tile_stored(2, scores + 16 * COLUMNS_PER_BLOCK, BYTES);
  _tile_stored(3, scores + 16 * COLUMNS_PER_BLOCK + 16, BYTES);
}

}  // namespace

const Instructions AMX = {
    .name = "amx-bf16",
    .precision = Precision::bfloat16,
    .supported = has_amx,
    .begin = begin_amx,
    .end = end_amx,
    .scan = scan_in_two<scores_amx, list_avx512>,
    .reached_by = reached_by_avx512,
    .keep_above = keep_above_avx512,
    .exact = exact_avx512,
    .count_higher = count_higher_avx512,
};

}  // namespace rsir
#endif
