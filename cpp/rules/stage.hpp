// What the stages of a step do to one element.
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// Zero where a number is smaller than every normal one. A comparison: the processor's own mode would change results.
template <class Real>
RULE Real flushed(Real x) {
    constexpr Real smallest = sizeof(Real) == sizeof(float) ? Real(0x1p-126) : Real(0x1p-1022);
    return x < smallest && x > -smallest ? Real(0) : x;
}

/// Brought into ±most. NaN stays.
template <class Real>
RULE Real clipped(Real x, Real most) {
    const Real below = x > most ? most : x;
    return below < -most ? -most : below;
}

/// A ← d·A + (1−d)·θ
template <class Real>
struct Averaging {
    Real old, fresh;

    explicit RULE Averaging(double decay) : old(Real(decay)), fresh(Real(1 - decay)) {}
    RULE Real operator()(Real average, Real param) const { return old * average + fresh * param; }
};

}  // namespace fusedstep
