// What the stages of a step do to one element.
#pragma once

#include "rule.hpp"

namespace fusedstep {

template <class Real>
constexpr Real smallest_normal = sizeof(Real) == sizeof(float) ? Real(0x1p-126) : Real(0x1p-1022);

/// Zero where a number is smaller than `least`. A comparison: the processor's own mode would change results.
template <class Real>
FS_RULE Real flushed(Real x, Real least = smallest_normal<Real>) {
    return x < least && x > -least ? Real(0) : x;
}

/// Brought into ±most. NaN stays.
template <class Real>
FS_RULE Real clipped(Real x, Real most) {
    const Real below = x > most ? most : x;
    return below < -most ? -most : below;
}

/// A gradient on its way in. What is not asked for changes no number: one that is infinite clips none, and none is
/// smaller than zero.
template <class Real>
struct Touch {
    Real factor, most, least;

    FS_RULE Touch(double times, double clip_value, bool flushes)
        : factor(Real(times)), most(Real(clip_value)), least(flushes ? smallest_normal<Real> : Real(0)) {}
    FS_RULE Real operator()(Real grad) const { return flushed(clipped(factor * grad, most), least); }
};

/// A ← d·A + (1−d)·θ
template <class Real>
struct Averaging {
    Real old, fresh;

    explicit FS_RULE Averaging(double decay) : old(Real(decay)), fresh(Real(1 - decay)) {}
    FS_RULE Real operator()(Real average, Real param) const { return old * average + fresh * param; }
};

}  // namespace fusedstep
