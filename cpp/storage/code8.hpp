// One byte for an element of state: blocks of 128 elements share a power of two, 2^e, that their largest number is
// measured with. Of y = |x|/2^e + c, a byte holds the digits of the exponent and the first of the significand, so that
// small numbers are c/16 apart and large ones a 16th to a 32nd of themselves (the compander of G.711, with other
// numbers). Nothing but sums and shifts: what is representable stays as it is, and zero is a code.
#pragma once

#include <math.h>

#include "bits.hpp"
#include "bytes.hpp"

namespace fusedstep {

struct Code8 {
    static constexpr int block = 128;
    static constexpr int kept = 4;  ///< bits of the significand
    static constexpr int cut = 23 - kept;

    /// Blocks whose largest number is below 2^-100 are zero; numbers beyond 2^126 have no code and become NaN. Those
    /// below `most` have one: they are plain.
    static constexpr uint32_t least = (127 - 100) << 23, most = (127 + 125) << 23;

    static FS_RULE uint32_t size(float x) { return as<uint32_t>(x) & magnitude_bits; }

    /// The bits of a number's size, 0 for what is not finite: what a block's largest is taken of.
    static FS_RULE int32_t finite_size(float x) {
        const auto bits = int32_t(size(x));
        return bits < int32_t(infinity_bits) ? bits : 0;
    }

    /// 1/2^e, or 0 for a block of zeros.
    static FS_RULE float inverse(float scale) { return as<float>(scale > 0 ? (254u << 23) - as<uint32_t>(scale) : 0); }

protected:
    /// 2^e for a block's largest number. One so close to the end of its binade that `spare` codes do not fit behind it
    /// moves on to the next.
    static FS_RULE float scale(uint32_t size, uint32_t spare) {
        return size < least ? 0 : plain_scale(size < most ? size : most, spare);
    }

    /// y, of which the steps of a code are the bits above `cut`. The quotient is exact, or vanishes beside c, so that
    /// one rounding is the same as two.
    static FS_RULE uint32_t measured(uint32_t size, float inverse, uint32_t c) {
#ifdef __CUDA_ARCH__
        return as<uint32_t>(__fmaf_rn(as<float>(size), inverse, as<float>(c)));
#else
        return as<uint32_t>(as<float>(size) * inverse + as<float>(c));
#endif
    }

    static constexpr uint32_t each_sign = 0x80808080;  ///< of four bytes

    /// Not 0 if one of four bytes is (Mycroft 1987).
    static FS_RULE uint32_t zeros(uint32_t bytes) { return (bytes - 0x01010101) & ~bytes & each_sign; }

    /// Whether a block's largest size is that of plain numbers, and not too small.
    static FS_RULE bool plain(uint32_t largest) { return largest - least < most - least; }
    /// 2^e for a block of plain numbers, of which the largest is not below `least`.
    static FS_RULE float plain_scale(uint32_t size, uint32_t spare) {
        return as<float>((size + (spare << cut)) & infinity_bits);
    }
    /// The steps of a number of such a block, from bit 16 on; `random` has 16 bits, in the place of 19 whose last are
    /// 0. It is added to c·2^e instead of being divided by 2^e: y is rounded alike.
    static FS_RULE uint32_t plain_steps(float x, float scale, uint32_t c, uint32_t random) {
        constexpr int low = cut - 16;
        const float origin = as<float>(c) * scale;
        return (as<uint32_t>(::fabsf(x) + origin) >> low) + (random - (as<uint32_t>(origin) >> low));
    }
    static FS_RULE uint32_t packed(const uint32_t (&steps)[4]) {
        return permuted(permuted(steps[0], steps[1], 0x0062), permuted(steps[2], steps[3], 0x0062), 0x5410);
    }

    /// How many steps of a code a number is away from zero; `random` decides what becomes of the rest.
    static FS_RULE uint32_t steps(uint32_t size, float inverse, uint32_t c, uint32_t random) {
        return (measured(size, inverse, c) + (random - c)) >> cut;
    }
    /// Exact where the scale is one that scale() makes, so that it may be calculated in any way.
    static FS_RULE float number(uint32_t steps, float scale, uint32_t c) {
        const auto y = as<float>(c + (steps << cut));
#ifdef __CUDA_ARCH__
        return __fmaf_rn(y, scale, -as<float>(c) * scale);
#else
        return (y - as<float>(c)) * scale;
#endif
    }
};

/// Eight segments below the largest number, on both sides of zero.
struct SignedCode8 : Code8 {
    using Bits = int8_t;
    static constexpr uint32_t c = (127 - 7) << 23;
    static constexpr int32_t not_a_number = -128;  ///< of either sign

    static FS_RULE float scale(uint32_t size) { return Code8::scale(size, 1); }
    static FS_RULE float plain_scale(uint32_t size) { return Code8::plain_scale(size, 1); }

    /// What the largest and the smallest of a block are taken of, to see whether its numbers are plain.
    static FS_RULE uint32_t rank(float x) { return size(x); }
    static FS_RULE bool plain(uint32_t largest, uint32_t) { return Code8::plain(largest); }
    /// The largest size; below `most` if all of the numbers are plain.
    template <int count>
    static FS_RULE uint32_t largest(const uint32_t (&bits)[count]) {
        uint32_t below = 0;
        int32_t above = 0;
        for (int i = 0; i < count; ++i) {
            below = bits[i] > below ? bits[i] : below;
            above = int32_t(bits[i]) > above ? int32_t(bits[i]) : above;
        }
        const auto size = int32_t(below & magnitude_bits);
        return uint32_t(size > above ? size : above);
    }

    static FS_RULE Bits encode(float x, float inverse, uint32_t random) {
        const uint32_t far = steps(size(x), inverse, c, random);
        return with_sign(far < 128 ? far : 128, x);
    }
    /// A plain one; `random` has 16 bits.
    static FS_RULE Bits encode_plain(float x, float scale, uint32_t random) {
        return with_sign(plain_steps(x, scale, c, random) >> 16, x);
    }
    /// Four in a word.
    static FS_RULE uint32_t encode_plain(const float (&x)[4], float scale, const uint32_t (&random)[4]) {
        uint32_t far[4];
        for (int i = 0; i < 4; ++i) far[i] = plain_steps(x[i], scale, c, random[i]);
        const uint32_t codes = packed(far), negative = (each_sign - codes) ^ each_sign;
        const uint32_t front = permuted(as<uint32_t>(x[0]), as<uint32_t>(x[1]), 0x00fb),
                       back = permuted(as<uint32_t>(x[2]), as<uint32_t>(x[3]), 0x00fb);
        const uint32_t signs = permuted(front, back, 0x5410);
        return (codes & ~signs) | (negative & signs);
    }
    /// Of a code that is a number's.
    static FS_RULE float value(int32_t code, float scale) {
        const int32_t far = code < 0 ? -code : code;
        return as<float>(as<uint32_t>(number(uint32_t(far), scale, c)) | (uint32_t(code) & sign_bit));
    }
    /// One of four in a word.
    static FS_RULE int32_t of_four(uint32_t codes, int i) {
        return as<int32_t>(permuted(codes, 0, uint32_t(0x8880 | 0x1111 * i)));
    }
    static FS_RULE float decode(Bits code, float scale) {
        return as<float>(code == not_a_number ? 0x7fc00000 : as<uint32_t>(value(code, scale)));
    }
    /// Not 0 if one of four codes in a word is no number's.
    static FS_RULE uint32_t not_numbers(uint32_t codes) { return zeros(codes ^ each_sign); }

private:
    static FS_RULE Bits with_sign(uint32_t far, float x) {
        const int32_t sign = as<int32_t>(x) >> 31;
        return Bits((int32_t(far) ^ sign) - sign);
    }
};

/// Sixteen segments, for numbers that are not negative; what is above zero does not become zero.
struct UnsignedCode8 : Code8 {
    using Bits = uint8_t;
    static constexpr uint32_t c = (127 - 15) << 23, not_a_number = 255;

    static FS_RULE float scale(uint32_t size) { return Code8::scale(size, 3); }
    static FS_RULE float plain_scale(uint32_t size) { return Code8::plain_scale(size, 3); }

    /// What the largest and the smallest of a block are taken of, to see whether its numbers are plain: above zero,
    /// too.
    static FS_RULE uint32_t rank(float x) { return as<uint32_t>(x); }
    static FS_RULE bool plain(uint32_t largest, uint32_t smallest) { return Code8::plain(largest) && smallest > 0; }
    /// The largest size; below `most` if all of the numbers are plain, which none with a sign is.
    template <int count>
    static FS_RULE uint32_t largest(const uint32_t (&bits)[count]) {
        uint32_t largest = 0;
        for (int i = 0; i < count; ++i) largest = bits[i] > largest ? bits[i] : largest;
        return largest;
    }

    static FS_RULE Bits encode(float x, float inverse, uint32_t random) {
        const uint32_t far = raised(size(x), inverse, random);
        return Bits(far < not_a_number ? far : not_a_number);
    }
    /// A plain one; `random` has 16 bits.
    static FS_RULE Bits encode_plain(float x, float scale, uint32_t random) {
        return Bits(plain_steps(x, scale, random) >> 16);
    }
    /// Four in a word.
    static FS_RULE uint32_t encode_plain(const float (&x)[4], float scale, const uint32_t (&random)[4]) {
        uint32_t far[4];
        for (int i = 0; i < 4; ++i) far[i] = plain_steps(x[i], scale, random[i]);
        return packed(far);
    }
    /// Of a code that is a number's.
    static FS_RULE float value(uint32_t code, float scale) { return number(code, scale, c); }
    /// One of four in a word.
    static FS_RULE uint32_t of_four(uint32_t codes, int i) { return permuted(codes, 0, uint32_t(0x4440 | i)); }
    static FS_RULE float decode(Bits code, float scale) {
        return as<float>(code == not_a_number ? 0x7fc00000 : as<uint32_t>(value(code, scale)));
    }
    /// Not 0 if one of four codes in a word is no number's.
    static FS_RULE uint32_t not_numbers(uint32_t codes) { return zeros(~codes); }

private:
    /// At least one step, from bit 16 on.
    static FS_RULE uint32_t plain_steps(float x, float scale, uint32_t random) {
        constexpr uint32_t first = 1 << 16;
        const uint32_t at = Code8::plain_steps(x, scale, c, random);
        return at > first ? at : first;
    }
    /// At least one step for what is above zero, in a block that is not all zeros.
    static FS_RULE uint32_t raised(uint32_t size, float inverse, uint32_t random) {
        const uint32_t far = steps(size, inverse, c, random), first = inverse > 0, lowest = size < first ? size : first;
        return far > lowest ? far : lowest;
    }
};

}  // namespace fusedstep
