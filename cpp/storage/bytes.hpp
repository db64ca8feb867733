// Several small numbers in a word. A GPU has instructions for it, which no compiler finds.
#pragma once

#include <stdint.h>

#include "../rules/rule.hpp"

namespace fusedstep {

/// Four bytes out of the eight of `low` and `high`, by the digits of `choice`, the last one first: 0 to 7 is a byte, 8
/// to 15 the sign of one, in all of its bits.
FS_RULE uint32_t permuted(uint32_t low, uint32_t high, uint32_t choice) {
#ifdef __CUDA_ARCH__
    uint32_t made;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(made) : "r"(low), "r"(high), "r"(choice));
    return made;
#else
    const uint64_t all = uint64_t(high) << 32 | low;
    uint32_t made = 0;
    for (int i = 0; i < 4; ++i) {
        const uint32_t digit = choice >> 4 * i & 15, byte = uint32_t(all >> 8 * (digit & 7)) & 0xff;
        made |= (digit < 8 ? byte : byte >> 7 ? 0xff : 0) << 8 * i;
    }
    return made;
#endif
}

/// The upper halves of two words in one.
FS_RULE uint32_t upper_halves(uint32_t first, uint32_t second) {
#ifdef __CUDA_ARCH__
    return permuted(first, second, 0x7632);
#else
    return first >> 16 | (second & 0xffff0000);
#endif
}

}  // namespace fusedstep
