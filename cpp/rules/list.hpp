// Every rule that the loops are compiled for. A new formula joins here; a method that only differs in its numbers
// does not.
#pragma once

#include <type_traits>

#include "adabelief.hpp"
#include "adadelta.hpp"
#include "adaptive.hpp"
#include "lion.hpp"
#include "phi.hpp"
#include "psi.hpp"

namespace fusedstep {

/// Whether a rule's last two states are planes of a ring: the one that it writes, and the one after it, which it only
/// reads. In a ring of one plane these are the same.
template <class Rule>
constexpr bool has_window = false;
template <class Phi, class Real>
constexpr bool has_window<Adaptive<Phi, Window<Real>>> = true;
template <class Rule>
constexpr int written_states = Rule::states - (has_window<Rule> ? 1 : 0);

template <class... Rule>
struct List {
    static constexpr int size = sizeof...(Rule);

    /// The place of a rule in the list; a rule that is not in it does not compile.
    template <class Wanted>
    static constexpr int place = [] {
        static_assert((... || std::is_same_v<Wanted, Rule>), "this rule is not in the list");
        int before = 0;
        (void)(... || (std::is_same_v<Wanted, Rule> || (++before, false)));
        return before;
    }();
};

template <class... Psi>
struct EveryPhi {
    using R = double;
    template <class... More>
    using With =
        List<Adaptive<Gradient<R>, Psi>..., Adaptive<Momentum<R>, Psi>..., Adaptive<Nesterov<R>, Psi>..., More...>;
};

using Rules = EveryPhi<One<double>, Sum<double>, Moment<double>, Peak<double>, Window<double>, Infinity<double>>::With<
    Adaptive<Momentum<double>, Observed<Moment<double>>>, Adaptive<Gathered<double>, Observed<Moment<double>>>,
    Adaptive<Frozen<double>, Observed<Moment<double>>>, Adaptive<Frozen<double>, Observed<Peak<double>>>,
    Adaptive<Gradient<double>, Centered<double>>, Preconditioned<double, Moment<double>>,
    Preconditioned<double, Centered<double>>, Adaptive<Momentum<double>, Additive<double>>, Adadelta<double>,
    Lion<double>, AdaBelief<double>>;

}  // namespace fusedstep
