// bfloat16: the upper half of a float32. By integers: the hardware's conversions flush subnormals.
#pragma once

#include "bits.hpp"
#include "bytes.hpp"

namespace fusedstep {

struct BFloat16 {
    using Bits = uint16_t;

    static FS_RULE float widen(Bits bits) { return as<float>(uint32_t(bits) << 16); }

    /// To nearest, ties to even.
    static FS_RULE Bits nearest(float x) { return kept(x, rounded(x)); }

    /// Up with the probability of what is cut off; `random` has 16 bits.
    static FS_RULE Bits stochastic(float x, uint32_t random) { return kept(x, rounded(x, random)); }

    /// The rounded word, of which the upper half is kept; x is no NaN, or one whose lower half is 0. Such are all that
    /// a processor makes of bfloat16 and of the NaN; a GPU's have all bits set.
    static FS_RULE uint32_t rounded(float x) { return as<uint32_t>(x) + 0x7fff + (as<uint32_t>(x) >> 16 & 1); }
    static FS_RULE uint32_t rounded(float x, uint32_t random) { return as<uint32_t>(x) + random; }

    /// Two of these in a word, and of a word
    static FS_RULE uint32_t joined(uint32_t first, uint32_t second) { return upper_halves(first, second); }
    static FS_RULE float widen_first(uint32_t word) { return as<float>(word << 16); }
    static FS_RULE float widen_second(uint32_t word) { return as<float>(word & 0xffff0000); }

    static constexpr uint32_t not_a_number = 0x7fc0;

    /// A float32 in two: the nearer bfloat16 (ties up) and, signed, the 16 bits that are left. A NaN has no rest.
    static FS_RULE Bits upper(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(x, bits + 0x8000);
    }
    static FS_RULE int16_t rest(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return int16_t(x != x ? 0 : uint16_t(bits));
    }
    static FS_RULE float join(Bits upper, int16_t rest) {
        return as<float>((uint32_t(upper) << 16) + uint32_t(int32_t(rest)));
    }

private:
    /// A NaN is the NaN: rounding could carry it into the sign.
    static FS_RULE Bits kept(float x, uint32_t rounded) { return Bits(x != x ? not_a_number : rounded >> 16); }
};

}  // namespace fusedstep
