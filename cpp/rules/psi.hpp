// ψ, the second half of an adaptive method: a learning rate of its own for every coordinate.
//
// Each takes u from φ and returns the step, u / D.
#pragma once

#include "rule.hpp"

namespace fusedstep {

/// D = √(v + ε_in)·q + ε_out. Where ε stands and how the bias of v is corrected is a choice of these three numbers.
template <class Real>
struct Root {
    Real eps_in, q, eps_out;
    FS_RULE Real operator()(Real v) const { return square_root(v + eps_in) * q + eps_out; }
};

/// D = 1
template <class Real>
struct One {
    static constexpr int states = 0;
    static constexpr unsigned slow = 0, signs = 0;
    FS_RULE Real operator()(Real u, Real) const { return u; }
};

/// v ← v + g² (Duchi et al. 2011). `at_zero` is added to D where v is 0: infinity makes the step 0 there.
template <class Real>
struct Sum {
    static constexpr int states = 1;
    static constexpr unsigned slow = 0b1, signs = 0;
    Root<Real> root;
    Real at_zero;
    FS_RULE Real operator()(Real u, Real grad, Real& v) const {
        v = v + grad * grad;
        return u / (root(v) + (v == 0 ? at_zero : Real(0)));
    }
};

/// v ← a·v + b·g²: the leaky sum of RMSProp and Adam.
template <class Real>
struct Moment {
    static constexpr int states = 1;
    static constexpr unsigned slow = 0b1, signs = 0;
    Real a, b;
    Root<Real> root;
    FS_RULE Real operator()(Real u, Real grad, Real& v) const {
        v = a * v + b * (grad * grad);
        return u / root(v);
    }
};

/// v as above, D from the largest h·v so far (AMSGrad, Reddi et al. 2018).
template <class Real>
struct Peak {
    static constexpr int states = 2;
    static constexpr unsigned slow = 0b1, signs = 0;
    Real a, b, h;
    Root<Real> root;
    FS_RULE Real operator()(Real u, Real grad, Real& v, Real& peak) const {
        v = a * v + b * (grad * grad);
        peak = larger(peak, h * v);
        return u / root(peak);
    }
};

/// v ← a·v + b·g² less the squared mean of the gradients. Rounding can push the difference below 0, where it is 0.
template <class Real>
struct Centered {
    static constexpr int states = 2;
    static constexpr unsigned slow = 0b1, signs = 0b10;
    Real a, b;
    Root<Real> root;
    FS_RULE Real operator()(Real u, Real grad, Real& v, Real& mean) const {
        v = a * v + b * (grad * grad);
        mean = a * mean + b * grad;
        const Real variance = v - mean * mean;
        return u / root(variance < 0 ? Real(0) : variance);
    }
};

/// v ← max(a·v, |g| + ε_in),  D = v + ε_out (Adamax, Kingma & Ba 2015, §7.1)
template <class Real>
struct Infinity {
    static constexpr int states = 1;
    static constexpr unsigned slow = 0b1, signs = 0;
    Real a, eps_in, eps_out;
    FS_RULE Real operator()(Real u, Real grad, Real& v) const {
        v = larger(a * v, magnitude(grad) + eps_in);
        return u / (v + eps_out);
    }
};

/// v ← v − b·sign(v − g²)·g² (Zaheer et al. 2018)
template <class Real>
struct Additive {
    static constexpr int states = 1;
    static constexpr unsigned slow = 0b1, signs = 0;
    Real b;
    Root<Real> root;
    FS_RULE Real operator()(Real u, Real grad, Real& v) const {
        const Real square = grad * grad;
        v = v - b * (sign(v - square) * square);
        return u / root(v);
    }
};

/// The sum of the last k squares, without a subtraction: squares are subtracted by nobody, so that the sum is never
/// negative and forgets a large gradient completely. The ring holds k planes. Its planes before the newest one hold the
/// squares of this round, those after it hold suffix sums of the round before, and `sum` is this round's running sum.
template <class Real>
struct Window {
    static constexpr int states = 3;
    static constexpr unsigned slow = 0b1, signs = 0;
    Root<Real> root;
    Real closes;  ///< 1 in the last step of a round, otherwise 0
    FS_RULE Real operator()(Real u, Real grad, Real& sum, Real& newest, const Real& suffix) const {
        const Real older = suffix;
        const Real square = grad * grad;
        const Real round = sum + square;
        newest = square;
        sum = closes != 0 ? Real(0) : round;
        return u / root(closes != 0 ? round : round + older);
    }

    /// What a closed round does to the ring, from its last plane down to the second.
    FS_RULE static void fold(Real& earlier, Real later) { earlier = earlier + later; }
};

/// ψ moves its state and leaves u alone.
template <class Psi>
struct Observed {
    static constexpr int states = Psi::states;
    static constexpr unsigned slow = Psi::slow, signs = Psi::signs;
    Psi psi;
    template <class Real, class... State>
    FS_RULE Real operator()(Real u, Real grad, State&... state) const {
        psi(u, grad, state...);
        return u;
    }
};

}  // namespace fusedstep
