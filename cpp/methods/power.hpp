// Powers and what is made of them, in double-double arithmetic.
//
// pow() differs between machines, and plain squaring is off by up to 80 ulp in 1 − βᵗ. A double-double carries about
// 104 bits through the at most 63 squarings, so that 1 − βᵗ is within 1 ulp. Products are split as in Dekker 1971,
// which needs no fused multiply-add and is exact with or without one.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>

#include "../rules/rule.hpp"

namespace fusedstep {

/// The unevaluated sum high + low.
struct DoubleDouble {
    double high, low = 0;

    FS_ANYWHERE explicit operator double() const { return high + low; }
};

FS_ANYWHERE inline DoubleDouble two_sum(double x, double y) {
    const double sum = x + y;
    const double part = sum - x;
    return {sum, (x - (sum - part)) + (y - part)};
}

FS_ANYWHERE inline DoubleDouble two_product(double x, double y) {
    constexpr double splitter = 134217729.0;  // 2^27 + 1
    const double p = splitter * x, q = splitter * y;
    const double x_high = p - (p - x), y_high = q - (q - y);
    const double x_low = x - x_high, y_low = y - y_high;
    const double product = x * y;
    return {product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low};
}

FS_ANYWHERE inline DoubleDouble operator*(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble product = two_product(x.high, y.high);
    return two_sum(product.high, product.low + (x.high * y.low + x.low * y.high));
}

FS_ANYWHERE inline DoubleDouble operator-(DoubleDouble x, DoubleDouble y) {
    const DoubleDouble high = two_sum(x.high, -y.high);
    const DoubleDouble low = two_sum(x.low, -y.low);
    const DoubleDouble sum = two_sum(high.high, high.low + low.high);
    return two_sum(sum.high, sum.low + low.low);
}

FS_ANYWHERE inline DoubleDouble operator/(DoubleDouble x, DoubleDouble y) {
    const double first = x.high / y.high;
    const DoubleDouble rest = x - y * DoubleDouble{first};
    const double second = rest.high / y.high;
    const DoubleDouble tail = rest - y * DoubleDouble{second};
    const DoubleDouble sum = two_sum(first, second);
    return two_sum(sum.high, sum.low + tail.high / y.high);
}

/// eˣ, for sizes of x up to 2^11: Taylor's series of a part of x, whose power is squared until it is that of x.
inline DoubleDouble exponential(DoubleDouble x) {
    int halvings = 0;
    for (; std::fabs(x.high) > 0x1p-4; ++halvings) x = {x.high / 2, x.low / 2};
    DoubleDouble power{1};
    for (int n = 17; n > 0; --n) power = x * power / DoubleDouble{double(n)} - DoubleDouble{-1};
    for (; halvings > 0; --halvings) power = power * power;
    return power;
}

/// A decay rate β with its powers. The binary digits of t are taken from the highest down: what is there is squared,
/// and multiplied with β where the digit is 1.
class Power {
public:
    FS_ANYWHERE Power(double beta = 0) : beta_(beta) {}

    FS_ANYWHERE double beta() const { return beta_; }

    /// 1 − β
    FS_ANYWHERE double rest() const { return 1 - beta_; }

    /// βᵗ
    FS_ANYWHERE DoubleDouble at(int64_t t) const {
#ifdef __CUDA_ARCH__
        DoubleDouble power{1};
        for (int digit = 63 - __clzll(t); digit >= 0; --digit) power = next(power, t, digit);
        return power;
#else
        Way& way = Way::of(beta_);
        auto digit = int(std::bit_width(uint64_t(t ^ way.last)));
        while (digit-- > 0) way.above[digit] = next(way.above[digit + 1], t, digit);
        way.last = t;
        return way.above[0];
#endif
    }

    /// 1 − βᵗ
    FS_ANYWHERE DoubleDouble correction(int64_t t) const { return DoubleDouble{1} - at(t); }

private:
    FS_ANYWHERE DoubleDouble next(DoubleDouble power, int64_t t, int digit) const {
        const DoubleDouble square = power * power;
        return t >> digit & 1 ? square * DoubleDouble{beta_} : square;
    }

    /// What led to the last power that a thread has asked for. A step later the upper digits are the same.
    struct Way {
        double beta = NAN;
        int64_t last = 0;
        DoubleDouble above[65] = {};  ///< β to the digits from here up

        static Way& of(double beta) {
            thread_local Way recent[8];
            thread_local unsigned next = 0;
            for (Way& way : recent)
                if (way.beta == beta) return way;
            Way& way = recent[next++ % std::size(recent)];
            way.beta = beta;
            way.last = 0;
            std::fill(std::begin(way.above), std::end(way.above), DoubleDouble{1});
            return way;
        }
    };

    double beta_;
};

}  // namespace fusedstep
