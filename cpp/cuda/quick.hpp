// A float whose roots and quotients are taken without a look at each: what is odd about the operands of a whole row is
// found out at once, in the end. Six instructions an element are the look that the compiler would take.
#pragma once

#include <math.h>

#include <type_traits>

#include "../storage/bits.hpp"

namespace fusedstep::cuda {

#ifdef __CUDA_ARCH__
/// `mad.rn` is another word for `fma.rn`: by it tests/ptx tells what is meant from what a compiler has contracted.
FS_RULE float fused(float a, float b, float c) {
    float made;
    asm("mad.rn.f32 %0, %1, %2, %3;" : "=f"(made) : "f"(a), "f"(b), "f"(c));
    return made;
}
FS_RULE float about_inverse(float x) {
    float made;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(made) : "f"(x));
    return made;
}
FS_RULE float about_inverse_root(float x) {
    float made;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(made) : "f"(x));
    return made;
}
#else
FS_RULE float fused(float a, float b, float c) { return ::fmaf(a, b, c); }
FS_RULE float about_inverse(float x) { return 1 / x; }
FS_RULE float about_inverse_root(float x) { return float(1 / ::sqrt(double(x))); }
#endif

/// A rule's number, which is what IEEE 754 says as long as it is not odd.
struct Quick {
    static constexpr uint32_t most = 0x727fffff;  ///< that `odd` may be

    float value;
    uint32_t odd = 0;

    Quick() = default;
    template <class T>
    FS_RULE Quick(T value)
        requires(std::is_arithmetic_v<T>)
        : value(float(value)) {}
    FS_RULE Quick(float value, uint32_t odd) : value(value), odd(odd) {}

    friend FS_RULE Quick operator-(Quick x) { return {-x.value, x.odd}; }
    friend FS_RULE Quick operator+(Quick x, Quick y) { return {x.value + y.value, worse(x.odd, y.odd)}; }
    friend FS_RULE Quick operator-(Quick x, Quick y) { return {x.value - y.value, worse(x.odd, y.odd)}; }
    friend FS_RULE Quick operator*(Quick x, Quick y) { return {x.value * y.value, worse(x.odd, y.odd)}; }
    FS_RULE Quick& operator-=(Quick y) { return *this = *this - y; }

    friend FS_RULE bool operator==(Quick x, Quick y) { return x.value == y.value; }
    friend FS_RULE bool operator!=(Quick x, Quick y) { return x.value != y.value; }
    friend FS_RULE bool operator<(Quick x, Quick y) { return x.value < y.value; }
    friend FS_RULE bool operator>(Quick x, Quick y) { return x.value > y.value; }
    friend FS_RULE bool operator>=(Quick x, Quick y) { return x.value >= y.value; }

    /// The steps that nvcc takes for `/` on all devices from 7.5 to 12.0 where nothing is odd. They hold where nothing
    /// is subnormal: the divisor from 2^-46 to 2^68, the quotient from 2^-54 to 2^60, so that the dividend is not below
    /// 2^-100 and what is left of it is exact.
    friend FS_RULE Quick operator/(Quick x, Quick y) {
        const float quotient = divided(x.value, y.value, about_inverse(y.value));
        const uint32_t odd = worse(behind(as<uint32_t>(y.value) << 1, (127 - 46) << 24),
                                   behind(as<uint32_t>(quotient) << 1, (127 - 54) << 24));
        return {quotient, worse(odd, worse(x.odd, y.odd))};
    }
    /// Likewise, for finite numbers from 2^-101 on.
    friend FS_RULE Quick square_root(Quick x) {
        const float root = root_of(x.value, about_inverse_root(x.value));
        return {root, worse(x.odd, behind(as<uint32_t>(x.value), (127 - 101) << 23))};
    }

    // An approximation may be off by one in the last place, a root's by 2^-22.9 of itself. Of these one for a divisor,
    // whose significand is the largest, and two for radicands would lead astray: no device makes them, as rcp.rn and
    // sqrt.rn, for which nvcc takes the same steps, would be wrong with them.
    /// Newton's step for the inverse, and one for the quotient
    static FS_RULE float divided(float x, float y, float about) {
        const float inverse = fused(about, fused(-y, about, 1), about);
        const float nearly = x * inverse, left = fused(-y, nearly, x);
        return fused(inverse, left, nearly);
    }
    static FS_RULE float root_of(float x, float about) {
        const float nearly = x * about, half = about * 0.5f;
        return fused(fused(-nearly, nearly, x), half, nearly);
    }

    static FS_RULE uint32_t worse(uint32_t a, uint32_t b) { return a > b ? a : b; }

private:
    /// How far a number's bits lie behind the first that is not odd.
    static FS_RULE uint32_t behind(uint32_t bits, uint32_t first) { return bits - first; }
};

}  // namespace fusedstep::cuda
