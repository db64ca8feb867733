// The loop where parameter, gradient and every state are bfloat16: widened and rounded in registers, two to a word.
// Compiled once per target, under the conditions of loops.hpp.
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

/// The elements of a word. Vectors of words keep them in their lanes: to widen and to join them nothing is moved.
struct Two {
    float first, second;

    explicit FS_RULE Two(uint32_t word) : first(BFloat16::widen_first(word)), second(BFloat16::widen_second(word)) {}
};

FS_RULE uint32_t word_at(const uint16_t* array, int i) {
    uint32_t word;
    memcpy(&word, array + i, sizeof(word));
    return word;
}
FS_RULE void put(uint16_t* array, int i, uint32_t word) { memcpy(array + i, &word, sizeof(word)); }

template <bool random>
FS_RULE uint32_t narrow(const Two& x, uint32_t key, uint32_t element) {
    if constexpr (!random) return BFloat16::joined(BFloat16::rounded(x.first), BFloat16::rounded(x.second));
    Draws draws(key, element);
    const uint32_t first = BFloat16::rounded(x.first, draws.bits());
    draws.advance();
    return BFloat16::joined(first, BFloat16::rounded(x.second, draws.bits()));
}

template <bool coupled, class Rule, class... State>
FS_RULE void step(const Rule& rule, float decay, float& param, float grad, State&... state) {
    apply_decay<coupled>(param, grad, decay);
    rule(param, grad, state...);
}

/// How many of the states before this one take random bits.
constexpr int draws_before(unsigned slow, size_t state) {
    int draws = 0;
    for (size_t i = 0; i < state; ++i) draws += slow >> i & 1;
    return draws;
}

template <class Rule, bool coupled, bool random, size_t... index, class... State>
FS_RULE void sweep(const Rule& rule, float sign, float decay, int count, const uint32_t* keys, uint32_t first,
                   uint16_t* RESTRICT param, const uint16_t* RESTRICT grad, std::index_sequence<index...>,
                   State* RESTRICT... state) {
    uint32_t own[1 + sizeof...(state)];  // what is written cannot be these
    for (size_t draw = 0; draw < sizeof...(state) + 1; ++draw) own[draw] = keys[draw];
    INDEPENDENT
    for (int i = 0; i < count; i += 2) {
        const uint32_t element = first + uint32_t(i);
        Two p(word_at(param, i)), g(word_at(grad, i));
        const auto both = [&](auto... value) {
            step<coupled>(rule, decay, p.first, sign * g.first, value.first...);
            step<coupled>(rule, decay, p.second, sign * g.second, value.second...);
            (put(state, i,
                 narrow<(Rule::slow >> index & 1) != 0>(value, own[random + draws_before(Rule::slow, index)], element)),
             ...);
        };
        both(Two(word_at(state, i))...);
        put(param, i, narrow<random>(p, own[0], element));
    }
}

template <class Rule, bool coupled, bool random, size_t... state>
void loop(const double* numbers, const Border& border, const Buffers& buffers, const uint32_t* keys, uint32_t first,
          int64_t begin, int64_t end) {
    const auto rule = rule_of<Rule, float>(numbers);
    // Whatever NaN a norm was: only the NaN may be rounded like a number.
    const float sign = float(border.sign == border.sign ? border.sign : NAN),
                decay = float(coupled ? border.coupled : border.shrink);
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
