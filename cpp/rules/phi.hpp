// φ, the first half of an adaptive method: what becomes of the gradients' direction.
//
// Each returns u, the step before ψ divides it; the learning rate is already in the numbers.
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// u = c·g
template <class Real>
struct Gradient {
    static constexpr int states = 0;
    Real c;
    FS_RULE Real operator()(Real grad) const { return c * grad; }
};

/// m ← a·m + b·g,  u = c·m: heavy ball (Qian 1999) and the exponential average of Adam.
template <class Real>
struct Momentum {
    static constexpr int states = 1;
    Real a, b, c;
    FS_RULE Real operator()(Real grad, Real& m) const {
        m = a * m + b * grad;
        return c * m;
    }
};

/// m ← a·m + b·g,  u = c·m + d·g: Nesterov's momentum, written at the point where the gradient was taken.
template <class Real>
struct Nesterov {
    static constexpr int states = 1;
    Real a, b, c, d;
    FS_RULE Real operator()(Real grad, Real& m) const {
        m = a * m + b * grad;
        return c * m + d * grad;
    }
};

/// m ← a·m + b·g,  u = 0: the average is gathered and the parameter stays.
template <class Real>
struct Gathered {
    static constexpr int states = 1;
    Real a, b;
    FS_RULE Real operator()(Real grad, Real& m) const {
        m = a * m + b * grad;
        return Real(0);
    }
};

/// u = 0: the average stays as well.
template <class Real>
struct Frozen {
    static constexpr int states = 1;
    FS_RULE Real operator()(Real, Real&) const { return Real(0); }
};

}  // namespace fusedstep
