// Sums of a block's numbers: sixteen that take turns. Under the conditions of loops.hpp.
#pragma once

#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

constexpr int lanes = 16;

/// The lanes' sums, added by halves.
template <int half = lanes / 2>
FS_RULE double total(const double (&sums)[2 * half]) {
    double halves[half];
    for (int i = 0; i < half; ++i) halves[i] = sums[i] + sums[i + half];
    if constexpr (half == 1)
        return halves[0];
    else
        return total<half / 2>(halves);
}

/// s + x². What of no more bits than a float is squared is exact in double: fused, both round once, and alike.
template <class Format>
FS_RULE double plus_square(double s, double x) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    if constexpr (sizeof(typename Format::Real) == sizeof(float)) return __builtin_fma(x, x, s);
#endif
    return s + x * x;
}

/// The last elements of a block, with zeros behind them.
template <class Element>
struct Rest {
    Element row[lanes] = {};

    FS_RULE Rest(const Element* values, int count) {
        for (int i = 0; i < count; ++i) row[i] = values[i];
    }
};

/// Takes the elements of blocks sixteen at a time.
template <class Take, class... Element>
FS_RULE void each_row(int count, Take take, const Element*... values) {
    const int even = count / lanes * lanes;
    for (int i = 0; i < even; i += lanes) take(values + i...);
    if (even < count) take(Rest<Element>(values + even, count - even).row...);
}

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
