// A float32 in two halves: the nearer one, and what that lacks (the pair that Kahan's summation keeps).
#pragma once

#include "bits.hpp"

namespace fusedstep {

template <class Half>
struct Pair {
    using Bits = typename Half::Bits;

    static FS_RULE float join(Bits half, Bits rest) { return Half::widen(half) + Half::widen(rest); }

    /// Nothing where the half is infinite.
    static FS_RULE Bits rest(float x, Bits half) {
        const float lacks = x - Half::widen(half);
        return Half::nearest(lacks - lacks == 0 ? lacks : 0);
    }
};

}  // namespace fusedstep
