// Powers βᵗ and what is made of them, in double-double arithmetic.
//
// pow() differs between machines, and plain squaring is off by up to 80 ulp in 1 − βᵗ. A double-double carries about
// 104 bits through the at most 63 squarings, so that 1 − βᵗ is within 1 ulp. Products are split as in Dekker 1971,
// which needs no fused multiply-add and is exact with or without one.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../rules/rule.hpp"

namespace fusedstep {

/// The unevaluated sum high + low.
struct DoubleDouble {
    double high, low = 0;

    ANYWHERE explicit operator double() const { return high + low; }
};

ANYWHERE inline DoubleDouble two_sum(double x, double y) {
    const double sum = x + y;
    const double part = sum - x;
    return {sum, (x - (sum - part)) + (y - part)};
}

ANYWHERE inline DoubleDouble two_product(double x, double y) {
    constexpr double splitter = 134217729.0;  // 2^27 + 1
    const double p = splitter * x, q = splitter * y;
    const double x_high = p - (p - x), y_high = q - (q - y);
    const double x_low = x - x_high, y_low = y - y_high;
    const double product = x * y;
    return {product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low};
}

ANYWHERE inline DoubleDouble operator*(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble product = two_product(x.high, y.high);
    return two_sum(product.high, product.low + (x.high * y.low + x.low * y.high));
}

ANYWHERE inline DoubleDouble operator-(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble high = two_sum(x.high, -y.high);
    const DoubleDouble low = two_sum(x.low, -y.low);
    const DoubleDouble sum = two_sum(high.high, high.low + low.high);
    return two_sum(sum.high, sum.low + low.low);
}

ANYWHERE inline DoubleDouble operator/(DoubleDouble x, DoubleDouble y) {
    const double first = x.high / y.high;
    const DoubleDouble rest = x - y * DoubleDouble{first};
    const double second = rest.high / y.high;
    const DoubleDouble tail = rest - y * DoubleDouble{second};
    const DoubleDouble sum = two_sum(first, second);
    return two_sum(sum.high, sum.low + tail.high / y.high);
}

/// A decay rate β with its powers. The binary digits of t are taken from the highest down: what is there is squared,
/// and multiplied with β where the digit is 1.
class Power {
public:
    ANYWHERE Power(double beta = 0) : beta_(beta) {}

    ANYWHERE double beta() const { return beta_; }

    /// 1 − β
    ANYWHERE double rest() const { return 1 - beta_; }

    /// βᵗ
    ANYWHERE DoubleDouble at(int64_t t) const {
#ifdef __CUDA_ARCH__
        DoubleDouble power{1};
        for (int digit = 63 - __clzll(t); digit >= 0; --digit) power = next(power, t, digit);
        return power;
#else
        // A step later the upper digits are the same, and so is what they led to.
        int digit = 0;
        for (auto changed = uint64_t(t ^ last_); changed; changed >>= 1) ++digit;
        while (digit-- > 0) above_[digit] = next(above_[digit + 1], t, digit);
        last_ = t;
        return above_[0];
#endif
    }

    /// 1 − βᵗ
    ANYWHERE DoubleDouble correction(int64_t t) const { return DoubleDouble{1} - at(t); }

private:
    ANYWHERE DoubleDouble next(DoubleDouble power, int64_t t, int digit) const {
        const DoubleDouble square = power * power;
        return t >> digit & 1 ? square * DoubleDouble{beta_} : square;
    }

    struct Prefixes {
        DoubleDouble each[65];
        ANYWHERE Prefixes() {
            for (DoubleDouble& power : each) power = {1};
        }
        DoubleDouble& operator[](int digit) { return each[digit]; }
    };

    double beta_;
    mutable Prefixes above_;  ///< β to the digits from here up
    mutable int64_t last_ = 0;
};

}  // namespace fusedstep
