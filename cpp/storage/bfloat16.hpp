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
        return kept(x, bits + 0x7fff + (bits >> 16 & 1));
    }

    /// Up with the probability of what is cut off; `random` has 16 bits.
    static RULE Bits stochastic(float x, uint32_t random) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(x, bits + random);
    }

    /// A float32 in two: the nearer bfloat16 (ties up) and, signed, the 16 bits that are left. A NaN has no rest.
    static RULE Bits upper(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return kept(x, bits + 0x8000);
    }
    static RULE int16_t rest(float x) {
        const uint32_t bits = as<uint32_t>(x);
        return int16_t(x != x ? 0 : uint16_t(bits));
    }
    static RULE float join(Bits upper, int16_t rest) {
        return as<float>((uint32_t(upper) << 16) + uint32_t(int32_t(rest)));
    }

private:
    /// A NaN is the NaN: rounding could carry it into the sign.
    static RULE Bits kept(float x, uint32_t rounded) { return Bits(x != x ? 0x7fc0 : rounded >> 16); }
};

}  // namespace fusedstep
