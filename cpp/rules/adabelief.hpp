// AdaBelief (Zhuang et al. 2020, arXiv:2010.07468, Algorithm 2)
#pragma once

#include "psi.hpp"

namespace fusedstep {

/// m ← β₁m + (1−β₁)g,  s ← β₂s + (1−β₂)(g−m)² + ε,  θ ← θ − c·m / D(s)
template <class Real>
struct AdaBelief {
    static constexpr int states = 2;
    static constexpr unsigned slow = 0b10, signs = 0b01;
    Real beta1, rest1, beta2, rest2, eps, c;
    Root<Real> root;
    FS_RULE void operator()(Real& param, Real grad, Real& m, Real& s) const {
        m = beta1 * m + rest1 * grad;
        const Real surprise = grad - m;
        s = beta2 * s + rest2 * (surprise * surprise) + eps;
        param -= c * m / root(s);
    }
};

}  // namespace fusedstep
