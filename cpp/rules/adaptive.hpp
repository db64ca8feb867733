// The generic adaptive method (Reddi et al. 2018): a choice of φ and of ψ, free to combine.
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// θ ← θ − φ(g) / ψ(g)
template <class Phi, class Psi>
struct Adaptive {
    static constexpr int states = Phi::states + Psi::states;
    static constexpr unsigned slow = Psi::slow << Phi::states,
                              signs = Psi::signs << Phi::states | ((1u << Phi::states) - 1);
    FS_PART Phi phi;
    FS_PART Psi psi;

    template <class Real, class... State>
    FS_RULE void operator()(Real& param, Real grad, State&... v) const
        requires(Phi::states == 0)
    {
        param -= psi(phi(grad), grad, v...);
    }
    template <class Real, class... State>
    FS_RULE void operator()(Real& param, Real grad, Real& m, State&... v) const
        requires(Phi::states == 1)
    {
        param -= psi(phi(grad, m), grad, v...);
    }
};

/// RMSProp with momentum: the buffer collects steps that ψ has already divided.
/// m ← a·m + b·g / ψ(g),  θ ← θ − c·m
template <class Real, class Psi>
struct Preconditioned {
    static constexpr int states = Psi::states + 1;
    static constexpr unsigned slow = Psi::slow << 1, signs = Psi::signs << 1 | 1;
    Real a, b, c;
    Psi psi;
    template <class... State>
    FS_RULE void operator()(Real& param, Real grad, Real& m, State&... v) const {
        m = a * m + psi(b * grad, grad, v...);
        param -= c * m;
    }
};

}  // namespace fusedstep
