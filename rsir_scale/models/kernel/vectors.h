// Vectors of single-precision numbers of whatever width the processor has, and what is computed on them.
//
// A kernel is a template over the vector; it is instantiated once for each set of instructions, inside a function that
// carries the `target` attribute, which is why everything here must be inlined.
#pragma once

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define RSIR_X86 1
#endif
#define RSIR_INLINE inline __attribute__((always_inline))

namespace rsir {

// What this processor has of the sets of instructions that the kernels are compiled for.
inline bool always() { return true; }
#ifdef RSIR_X86
inline bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
inline bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

typedef float Float4 __attribute__((vector_size(16)));
typedef float Float8 __attribute__((vector_size(32)));
typedef float Float16 __attribute__((vector_size(64)));

template <typename Vector>
constexpr int64_t LANES = sizeof(Vector) / sizeof(float);

template <typename Vector>
RSIR_INLINE Vector load(const float* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

template <typename Vector>
RSIR_INLINE void store(float* to, Vector vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

// Adds the lanes `STEP` apart, then those half as far apart, until every lane holds the sum of all.
template <typename Vector, int STEP = LANES<Vector> / 2>
RSIR_INLINE float sum_of(Vector vector) {
  typedef int32_t Places __attribute__((vector_size(sizeof(Vector))));
  if constexpr (STEP == 0) {
    return vector[0];
  } else {
    int32_t lanes[LANES<Vector>];
    for (int lane = 0; lane < LANES<Vector>; ++lane) lanes[lane] = lane ^ STEP;
    Places across;
    __builtin_memcpy(&across, lanes, sizeof across);
    return sum_of<Vector, STEP / 2>(vector + __builtin_shuffle(vector, across));
  }
}

// e^x to about one part in ten million, for x from -87 to 88; of finite x below, 0 or nearly.
template <typename Vector>
RSIR_INLINE Vector exponential(Vector x) {
  typedef int32_t Whole __attribute__((vector_size(sizeof(Vector))));
  constexpr float LEAST = -87.f, ROUNDING = 12582912.f;  // 1.5 · 2^23: adding it leaves a whole number
  x = x < LEAST ? x * 0 + LEAST : x;
  const Vector whole = (x * 1.44269504f + ROUNDING) - ROUNDING;
  const Vector rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;  // of ln 2 in two parts
  Vector sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;  // Cephes, expf
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.f;
  const Whole power = (__builtin_convertvector(whole, Whole) + 127) << 23;
  Vector scale;
  __builtin_memcpy(&scale, &power, sizeof scale);
  return sum * scale;
}

}  // namespace rsir
