// The loop: compiled once per target, with that target's instructions and in a namespace of its name.
#include <utility>

#include "../kernel/target.hpp"
#include "loops.hpp"
#include "tail.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {

extern const Halves halves;  // half_loop.cpp
extern const Passes passes;  // pass_loop.cpp
extern const Norms norms;    // norm_loop.cpp
extern const Stats stats;    // stats_loop.cpp

namespace {

template <class Rule, class Real, bool coupled, class... State>
FS_RULE void sweep(const Rule& rule, Real sign, Real decay, int64_t count, Real* RESTRICT param,
                   const Real* RESTRICT grad, State* RESTRICT... state) {
    BY_FOUR INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        Real p = param[i], g = sign * grad[i];
        apply_decay<coupled>(p, g, decay);
        rule(p, g, state[i]...);
        param[i] = p;
    }
}

/// A state's elements, as a rule sees them.
template <class Rule, class Real, size_t state>
using Stream = std::conditional_t<(state < written_states<Rule>), Real, const Real>;

template <class Rule, class Real, bool coupled, size_t... state>
void loop(const double* numbers, const Border& border, const Buffers& buffers, int64_t begin, int64_t end) {
    const auto rule = rule_of<Rule, Real>(numbers);
    const Real sign = Real(border.sign), decay = Real(coupled ? border.coupled : border.shrink);
    run_with_tail(
        end - begin,
        [&](int64_t, int64_t count, Real* param, const Real* grad, auto*... states)
            IN_LINE { sweep<In<Rule, Real>, Real, coupled>(rule, sign, decay, count, param, grad, states...); },
        static_cast<Real*>(buffers.param) + begin, static_cast<const Real*>(buffers.grad) + begin,
        (static_cast<Stream<Rule, Real, state>*>(buffers.state[state]) + begin)...);
}

template <class Real>
void fold(const Ring& ring, int64_t begin, int64_t end) {
    Real* const planes = static_cast<Real*>(ring.data);
    for (int64_t plane = ring.planes - 2; plane >= 1; --plane) {
        Real* RESTRICT earlier = planes + plane * ring.stride;
        const Real* RESTRICT later = earlier + ring.stride;
        INDEPENDENT
        for (int64_t i = begin; i < end; ++i) Window<Real>::fold(earlier[i], later[i]);
    }
}

template <class Rule, size_t... state>
constexpr void enter(Loop (&row)[arithmetic_types][2], std::index_sequence<state...>) {
    row[0][0] = loop<Rule, float, false, state...>;
    row[0][1] = loop<Rule, float, true, state...>;
    row[1][0] = loop<Rule, double, false, state...>;
    row[1][1] = loop<Rule, double, true, state...>;
}

template <class... Rule>
constexpr Target table(List<Rule...>) {
    Target target{FUSEDSTEP_TARGET_NAME, {}, {fold<float>, fold<double>}, &halves, &passes, &norms, &stats};
    int row = 0;
    (enter<Rule>(target.loops[row++], std::make_index_sequence<Rule::states>()), ...);
    return target;
}

}  // namespace

extern constinit const Target target;
constinit const Target target = table(Rules());

}  // namespace fusedstep::FUSEDSTEP_TARGET
