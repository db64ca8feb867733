// Powers βᵗ and what is made of them, in double-double arithmetic.
//
// pow() differs between machines, and plain squaring is off by up to 80 ulp in 1 − βᵗ. A double-double carries about
// 104 bits through the at most 63 squarings, so that 1 − βᵗ is within 1 ulp. Products are split as in Dekker 1971,
// which needs no fused multiply-add and is exact with or without one.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace fusedstep {

/// The unevaluated sum high + low.
struct DoubleDouble {
    double high, low = 0;

    explicit operator double() const { return high + low; }
};

inline DoubleDouble two_sum(double x, double y) {
    const double sum = x + y;
    const double part = sum - x;
    return {sum, (x - (sum - part)) + (y - part)};
}

inline DoubleDouble two_product(double x, double y) {
    constexpr double splitter = 134217729.0;  // 2^27 + 1
    const double p = splitter * x, q = splitter * y;
    const double x_high = p - (p - x), y_high = q - (q - y);
    const double x_low = x - x_high, y_low = y - y_high;
    const double product = x * y;
    return {product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low};
}

inline DoubleDouble operator*(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble product = two_product(x.high, y.high);
    return two_sum(product.high, product.low + (x.high * y.low + x.low * y.high));
}

inline DoubleDouble operator-(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble high = two_sum(x.high, -y.high);
    const DoubleDouble low = two_sum(x.low, -y.low);
    const DoubleDouble sum = two_sum(high.high, high.low + low.high);
    return two_sum(sum.high, sum.low + low.low);
}

inline DoubleDouble operator/(DoubleDouble x, DoubleDouble y) {
    const double first = x.high / y.high;
    const DoubleDouble rest = x - y * DoubleDouble{first};
    const double second = rest.high / y.high;
    const DoubleDouble tail = rest - y * DoubleDouble{second};
    const DoubleDouble sum = two_sum(first, second);
    return two_sum(sum.high, sum.low + tail.high / y.high);
}

/// A decay rate β with its powers. What the binary digits of t ask for is multiplied from the highest down, and every
/// partial product is kept: a step later most digits are the same, and one product does.
class Power {
public:
    Power(double beta = 0) : beta_(beta) {
        squares_[0] = {beta};
        std::fill(std::begin(above_), std::end(above_), DoubleDouble{1});
    }

    double beta() const { return beta_; }

    /// 1 − β
    double rest() const { return 1 - beta_; }

    /// βᵗ
    DoubleDouble at(int64_t t) const {
        auto digit = size_t(std::bit_width(uint64_t(t ^ last_)));
        for (; known_ < digit; ++known_) squares_[known_] = squares_[known_ - 1] * squares_[known_ - 1];
        while (digit-- > 0) above_[digit] = t >> digit & 1 ? above_[digit + 1] * squares_[digit] : above_[digit + 1];
        last_ = t;
        return above_[0];
    }

    /// 1 − βᵗ
    DoubleDouble correction(int64_t t) const { return DoubleDouble{1} - at(t); }

private:
    double beta_;
    mutable DoubleDouble squares_[64];
    mutable DoubleDouble above_[65];  ///< products over the digits from here up
    mutable size_t known_ = 1;        ///< squares
    mutable int64_t last_ = 0;
};

}  // namespace fusedstep
