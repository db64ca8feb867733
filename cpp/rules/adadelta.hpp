// Adadelta (Zeiler 2012, arXiv:1212.5701, Algorithm 1)
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// v ← ρv + (1−ρ)g²,  Δ = √(u+ε)/√(v+ε)·g,  u ← ρu + (1−ρ)Δ²,  θ ← θ − ηΔ
template <class Real>
struct Adadelta {
    static constexpr int states = 2;
    static constexpr unsigned slow = 0b11, signs = 0;
    Real rho, rest, eps, lr;
    FS_RULE void operator()(Real& param, Real grad, Real& v, Real& u) const {
        v = rho * v + rest * (grad * grad);
        const Real delta = square_root(u + eps) / square_root(v + eps) * grad;
        u = rho * u + rest * (delta * delta);
        param -= lr * delta;
    }
};

}  // namespace fusedstep
