// Lion (Chen et al. 2023, arXiv:2302.06675, Algorithm 2)
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// θ ← θ − η·sign(β₁m + (1−β₁)g),  m ← β₂m + (1−β₂)g
template <class Real>
struct Lion {
    static constexpr int states = 1;
    static constexpr unsigned slow = 0, signs = 0b1;
    Real beta1, rest1, beta2, rest2, lr;
    FS_RULE void operator()(Real& param, Real grad, Real& m) const {
        param -= lr * sign(beta1 * m + rest1 * grad);
        m = beta2 * m + rest2 * grad;
    }
};

}  // namespace fusedstep
