// The sets that can be compiled here, best first: what multiplies more at once. AMX takes whole tiles of bfloat16; then
// come bytes by fours, bfloat16 by pairs, and floats one by one.
#include "instructions.h"

#include "sets.h"

namespace rsir {

const Instructions* const INSTRUCTIONS[] = {
#ifdef RSIR_AMX
    &AMX,
#endif
#ifdef RSIR_X86
    &AVX512_VNNI, &AVX512_BF16, &AVX512, &AVX2,
#endif
    &GENERIC,
};
const size_t INSTRUCTIONS_COUNT = sizeof(INSTRUCTIONS) / sizeof(INSTRUCTIONS[0]);

}  // namespace rsir
