// One byte for an element of state: blocks of 128 elements share a power of two, 2^e, that their largest number is
// measured with. Of y = |x|/2^e + c, a byte holds the digits of the exponent and the first of the significand, so that
// small numbers are c/16 apart and large ones a 16th to a 32nd of themselves (the compander of G.711, with other
// numbers). Nothing but sums and shifts: what is representable stays as it is, and zero is a code.
#pragma once

#include "bits.hpp"

namespace fusedstep {

struct Code8 {
    static constexpr int block = 128;
    static constexpr int kept = 4;  ///< bits of the significand
    static constexpr int cut = 23 - kept;

    /// Blocks whose largest number is below 2^-100 are zero; numbers beyond 2^126 have no code and become NaN.
    static constexpr uint32_t least = (127 - 100) << 23, most = (127 + 125) << 23;

    static RULE uint32_t size(float x) { return as<uint32_t>(x) & magnitude_bits; }

    /// The bits of a number's size, 0 for what is not finite: what a block's largest is taken of.
    static RULE int32_t finite_size(float x) {
        const auto bits = int32_t(size(x));
        return bits < int32_t(infinity_bits) ? bits : 0;
    }

    /// 1/2^e, or 0 for a block of zeros.
    static RULE float inverse(float scale) { return as<float>(scale > 0 ? (254u << 23) - as<uint32_t>(scale) : 0); }

protected:
    /// 2^e for a block's largest number. One so close to the end of its binade that `spare` codes do not fit behind it
    /// moves on to the next.
    static RULE float scale(uint32_t size, uint32_t spare) {
        const uint32_t exponent = ((size < most ? size : most) + (spare << cut)) & infinity_bits;
        return as<float>(size < least ? 0 : exponent);
    }

    /// y, of which the steps of a code are the bits above `cut`. The quotient is exact, or vanishes beside c, so that
    /// one rounding is the same as two.
    static RULE uint32_t measured(uint32_t size, float inverse, uint32_t c) {
#ifdef __CUDA_ARCH__
        return as<uint32_t>(__fmaf_rn(as<float>(size), inverse, as<float>(c)));
#else
        return as<uint32_t>(as<float>(size) * inverse + as<float>(c));
#endif
    }

    /// Not 0 if one of four bytes is (Mycroft 1987).
    static RULE uint32_t zeros(uint32_t bytes) { return (bytes - 0x01010101) & ~bytes & 0x80808080; }

    /// How many steps of a code a number is away from zero; `random` decides what becomes of the rest.
    static RULE uint32_t steps(uint32_t size, float inverse, uint32_t c, uint32_t random) {
        return (measured(size, inverse, c) + (random - c)) >> cut;
    }
    static RULE float number(uint32_t steps, float scale, uint32_t c) {
        return (as<float>(c + (steps << cut)) - as<float>(c)) * scale;
    }
};

/// Eight segments below the largest number, on both sides of zero.
struct SignedCode8 : Code8 {
    using Bits = int8_t;
    static constexpr uint32_t c = (127 - 7) << 23;
    static constexpr int32_t not_a_number = -128;  ///< of either sign

    static RULE float scale(uint32_t size) { return Code8::scale(size, 1); }

    static RULE Bits encode(float x, float inverse, uint32_t random) {
        const uint32_t far = steps(size(x), inverse, c, random);
        const auto code = int32_t(far < 128 ? far : 128), sign = as<int32_t>(x) >> 31;
        return Bits((code ^ sign) - sign);
    }
    /// Of a code that is a number's.
    static RULE float value(Bits code, float scale) {
        const int32_t wide = code, far = wide < 0 ? -wide : wide;
        return as<float>(as<uint32_t>(number(uint32_t(far), scale, c)) | (uint32_t(wide) & sign_bit));
    }
    static RULE float decode(Bits code, float scale) {
        return as<float>(code == not_a_number ? 0x7fc00000 : as<uint32_t>(value(code, scale)));
    }
    /// Not 0 if one of four codes in a word is no number's.
    static RULE uint32_t not_numbers(uint32_t codes) { return zeros(codes ^ 0x80808080); }
};

/// Sixteen segments, for numbers that are not negative; what is above zero does not become zero.
struct UnsignedCode8 : Code8 {
    using Bits = uint8_t;
    static constexpr uint32_t c = (127 - 15) << 23, not_a_number = 255;

    static RULE float scale(uint32_t size) { return Code8::scale(size, 3); }

    static RULE Bits encode(float x, float inverse, uint32_t random) {
        const uint32_t bits = size(x), far = steps(bits, inverse, c, random), first = inverse > 0;
        const uint32_t code = far < not_a_number ? far : not_a_number, lowest = bits < first ? bits : first;
        return Bits(code > lowest ? code : lowest);
    }
    /// Of a code that is a number's.
    static RULE float value(Bits code, float scale) { return number(code, scale, c); }
    static RULE float decode(Bits code, float scale) {
        return as<float>(code == not_a_number ? 0x7fc00000 : as<uint32_t>(value(code, scale)));
    }
    /// Not 0 if one of four codes in a word is no number's.
    static RULE uint32_t not_numbers(uint32_t codes) { return zeros(~codes); }
};

}  // namespace fusedstep
