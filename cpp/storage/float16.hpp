// float16 (IEEE 754 binary16), by integers: x86-64-v2 has no instruction for it, and none rounds stochastically.
#pragma once

#include "bits.hpp"

namespace fusedstep {

struct Float16 {
    using Bits = uint16_t;

    static FS_RULE float widen(Bits half) {
        const uint32_t sign = uint32_t(half & 0x8000) << 16, rest = half & 0x7fff;
        const uint32_t small = as<uint32_t>(float(int32_t(rest)) * 0x1p-24f);
        const uint32_t large = (rest << 13) + (rest >= 0x7c00 ? (255u - 31) << 23 : (127u - 15) << 23);
        return as<float>(sign | (rest < 0x400 ? small : large));
    }

    /// To nearest, ties to even.
    static FS_RULE Bits nearest(float x) {
        const uint32_t bits = as<uint32_t>(x), size = bits & magnitude_bits;
        // Where a half is subnormal, the sum with 1/2 leaves exactly its bits at the end.
        const uint32_t small = as<uint32_t>(as<float>(size) + 0.5f) - as<uint32_t>(0.5f);
        return kept(bits, size, small, size + 0xfff + (size >> 13 & 1));
    }

    /// Up with the probability of what is cut off; `random` has 16 bits.
    static FS_RULE Bits stochastic(float x, uint32_t random) {
        const uint32_t bits = as<uint32_t>(x), size = bits & magnitude_bits;
        // Subnormals count 2^-24, of which 13 more bits are looked at.
        const bool subnormal = size < smallest;
        const auto parts = uint32_t(int32_t(as<float>(subnormal ? size : 0) * 0x1p37f));
        return kept(bits, size, (parts + (random >> 3)) >> 13, size + (random >> 3));
    }

private:
    static constexpr uint32_t smallest = (127 - 14) << 23, beyond = (127 + 16) << 23;  ///< 2^-14, 2^16

    static FS_RULE Bits kept(uint32_t bits, uint32_t size, uint32_t subnormal, uint32_t rounded) {
        const uint32_t sign = bits >> 16 & 0x8000;
        const uint32_t normal = rounded >= beyond ? 0x7c00 : (rounded >> 13) - ((127 - 15) << 10);
        const uint32_t number = size < smallest ? subnormal : normal;
        return Bits(sign | (size > infinity_bits ? 0x7e00 : number));
    }
};

}  // namespace fusedstep
