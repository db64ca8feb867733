// Numbers that look random and are the same everywhere.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

/// SplitMix64 (Steele, Lea & Flood 2014)
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t bits() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }

    int64_t below(int64_t end) { return int64_t(bits() % uint64_t(end)); }

    /// In [0, 1)
    double fraction() { return double(bits() >> 11) * 0x1p-53; }

    /// A number of some magnitude between 2^-20 and 2^12; one in thirty is a zero, a subnormal, an infinity or NaN.
    template <class Real>
    Real number() {
        using Limits = std::numeric_limits<Real>;
        const Real sign = bits() & 1 ? Real(-1) : Real(1);
        switch (below(120)) {
            case 0: return sign * 0;
            case 1: return sign * Limits::denorm_min() * Real(1 + below(1000));
            case 2: return sign * Limits::infinity();
            case 3: return Limits::quiet_NaN();
            default: return sign * Real(std::ldexp(1 + fraction(), int(below(32)) - 20));
        }
    }

private:
    uint64_t state_;
};
