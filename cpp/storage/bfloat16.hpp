// bfloat16: the upper half of a float32. By integers: the hardware's conversions flush subnormals.
#pragma once

#include "bits.hpp"

namespace fusedstep {

struct BFloat16 {
    using Bits = uint16_t;

    static RULE float widen(Bits bits) { return as<float>(uint32_t(bits) << 16); }

    /// To nearest, ties to even.
    static RULE Bits nearest(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(bits, bits + 0x7fff + (bits >> 16 & 1));
    }

    /// Up with the probability of what is cut off; `random` has 16 bits.
    static RULE Bits stochastic(float x, uint32_t random) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(bits, bits + random);
    }

    /// A float32 in two: the nearer bfloat16 (ties up) and, signed, the 16 bits that are left. A NaN has no rest.
    static RULE Bits upper(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(bits, bits + 0x8000);
    }
    static RULE int16_t rest(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return int16_t((bits & magnitude_bits) > infinity_bits ? 0 : uint16_t(bits));
    }
    static RULE float join(Bits upper, int16_t rest) {
        return as<float>((uint32_t(upper) << 16) + uint32_t(int32_t(rest)));
    }

private:
    /// A NaN stays one: rounding could carry it into the sign.
    static RULE Bits kept(uint32_t bits, uint32_t rounded) {
        const uint32_t nan = (bits | 0x400000) >> 16;
        return Bits((bits & magnitude_bits) > infinity_bits ? nan : rounded >> 16);
    }
};

}  // namespace fusedstep
