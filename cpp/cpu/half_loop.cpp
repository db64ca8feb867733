// The loop where parameter, gradient and every state are bfloat16: widened and rounded in registers. Compiled once per
// target, under the conditions of loops.hpp.
#include <utility>

#include "../kernel/target.hpp"
#include "../storage/bfloat16.hpp"
#include "../storage/random.hpp"
#include "ahead.hpp"
#include "loops.hpp"
#include "tail.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// Elements between two looks ahead
constexpr int64_t strip = 256;

template <bool random>
RULE uint16_t narrow(float x, uint32_t key, uint32_t element) {
    if constexpr (random)
        return BFloat16::stochastic(x, random_bits(key, element));
    else
        return BFloat16::nearest(x);
}

/// How many of the states before this one take random bits.
constexpr int draws_before(unsigned slow, size_t state) {
    int draws = 0;
    for (size_t i = 0; i < state; ++i) draws += slow >> i & 1;
    return draws;
}

template <class Rule, bool coupled, bool random, size_t... index, class... State>
RULE void sweep(const Rule& rule, float sign, float decay, int count, const uint32_t* keys, uint32_t first,
                uint16_t* RESTRICT param, const uint16_t* RESTRICT grad, std::index_sequence<index...>,
                State* RESTRICT... state) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) {
        const uint32_t element = first + uint32_t(i);
        float p = BFloat16::widen(param[i]), g = sign * BFloat16::widen(grad[i]);
        apply_decay<coupled>(p, g, decay);
        const auto step = [&](auto... value) {
            rule(p, g, value...);
            ((state[i] = narrow<(Rule::slow >> index & 1) != 0>(value, keys[random + draws_before(Rule::slow, index)],
                                                                element)),
             ...);
        };
        step(BFloat16::widen(state[i])...);
        param[i] = narrow<random>(p, keys[0], element);
    }
}

template <class Rule, bool coupled, bool random, size_t... state>
void loop(const double* numbers, const Border& border, const Buffers& buffers, const uint32_t* keys, uint32_t first,
          int64_t begin, int64_t end) {
    const auto rule = rule_of<Rule, float>(numbers);
    const float sign = float(border.sign), decay = float(coupled ? border.coupled : border.shrink);
    run_with_tail(
        end - begin,
        [&](int64_t from, int64_t count, uint16_t* param, const uint16_t* grad, auto*... states) IN_LINE {
            for (int64_t at = 0; at < count; at += strip) {
                const int part = int(count - at < strip ? count - at : strip);
                (ask_behind(param + at, part), ask_behind(grad + at, part), (ask_behind(states + at, part), ...));
                sweep<In<Rule, float>, coupled, random>(rule, sign, decay, part, keys, first + uint32_t(from + at),
                                                        param + at, grad + at, std::index_sequence<state...>(),
                                                        states + at...);
            }
        },
        static_cast<uint16_t*>(buffers.param) + begin, static_cast<const uint16_t*>(buffers.grad) + begin,
        (static_cast<uint16_t*>(buffers.state[state]) + begin)...);
}

template <class Rule, size_t... state>
constexpr void enter(HalfLoop (&row)[2][2], std::index_sequence<state...>) {
    row[0][0] = loop<Rule, false, false, state...>;
    row[0][1] = loop<Rule, false, true, state...>;
    row[1][0] = loop<Rule, true, false, state...>;
    row[1][1] = loop<Rule, true, true, state...>;
}

template <class... Rule>
constexpr Halves table(List<Rule...>) {
    Halves halves{{}, {Rule::slow...}};
    int row = 0;
    (enter<Rule>(halves.loops[row++], std::make_index_sequence<Rule::states>()), ...);
    return halves;
}

}  // namespace

extern constinit const Halves halves;
constinit const Halves halves = table(Rules());

}  // namespace fusedstep::FUSEDSTEP_TARGET
