// How an array's elements become numbers that can be calculated with, exactly; and the exponents of those.
#pragma once

#include "bfloat16.hpp"
#include "float16.hpp"

namespace fusedstep {

struct Single {
    using Element = float;
    using Real = float;
    static FS_RULE float widen(float x) { return x; }
};
struct Double {
    using Element = double;
    using Real = double;
    static FS_RULE double widen(double x) { return x; }
};
template <class Format>
struct Half {
    using Element = uint16_t;
    using Real = float;
    static FS_RULE float widen(uint16_t x) { return Format::widen(x); }
};

template <class Real>
struct Bits;
template <>
struct Bits<float> {
    using Word = int32_t;
    static constexpr Word magnitude = magnitude_bits, infinity = infinity_bits;
    static FS_RULE uint8_t bin(Word size) { return uint8_t(size >> 23); }
};
template <>
struct Bits<uint16_t> {
    using Word = uint16_t;
};
template <>
struct Bits<double> {
    using Word = int64_t;
    static constexpr Word magnitude = INT64_MAX, infinity = Word(0x7ff) << 52;
    static FS_RULE uint8_t bin(Word size) {
        const int32_t exponent = int32_t(size >> 52) - (1023 - 127);
        return uint8_t(exponent < 0 ? 0 : exponent > 255 ? 255 : exponent);
    }
};

/// The bits of |x|, which are in the order of the numbers.
template <class Real>
FS_RULE auto size_of_number(Real x) {
    return as<typename Bits<Real>::Word>(x) & Bits<Real>::magnitude;
}

}  // namespace fusedstep
