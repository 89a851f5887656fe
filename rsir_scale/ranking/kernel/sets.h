// The sets of instructions that can be compiled here, one to a file, and what decides which those are.
//
// One build holds them all: each function names its own instructions (`target`), no file has flags of its own, and the
// processor is asked at run time. What is written for x86-64 is written for GCC; other compilers get the generic set.
#pragma once

#include "instructions.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define RSIR_X86 1
#endif
#if defined(RSIR_X86) && defined(__linux__)
#define RSIR_AMX 1  // the system is asked for its tiles
#endif

namespace rsir {

extern const Instructions GENERIC;
#ifdef RSIR_X86
extern const Instructions AVX2, AVX512, AVX512_BF16, AVX512_VNNI;
#endif
#ifdef RSIR_AMX
extern const Instructions AMX;
#endif

}  // namespace rsir
