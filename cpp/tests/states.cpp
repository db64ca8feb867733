// Which states are slow and which have a sign is said twice, by the methods and by the rules: loops of halves and of
// codes rely on it that they agree.
#include <utility>
#include <variant>

#include "../cpu/targets.hpp"
#include "../methods/registry.hpp"
#include "check.hpp"

namespace {

using namespace fusedstep;

template <class... Rule>
struct Facts {
    unsigned slow[Rules::size] = {Rule::slow...}, signs[Rules::size] = {Rule::signs...};

    explicit Facts(List<Rule...>) {}
};

template <class One>
void agree(const One& method) {
    const Facts facts{Rules()};
    const unsigned* slow = cpu::active_target()->halves->slow;
    // Once for the first steps, which some methods take differently, and once for the later ones.
    for (const int64_t step : {1, 1000}) {
        const Update update = method.at({step, 0.1, 1});
        unsigned bit = 0;
        for (const State& state : method.states())
            if (state.kind == State::like_param) {
                CHECK((slow[update.rule] >> bit & 1) == unsigned(state.slow));
                CHECK((facts.slow[update.rule] >> bit & 1) == unsigned(state.slow));
                CHECK((facts.signs[update.rule] >> bit & 1) == unsigned(state.is_signed));
                ++bit;
            }
    }
}

template <size_t... index>
void all(std::index_sequence<index...>) {
    (agree(std::variant_alternative_t<index, Method>()), ...);
}

}  // namespace

int main() {
    all(std::make_index_sequence<std::variant_size_v<Method>>());
    method::Adam amsgrad;
    amsgrad.amsgrad = true;
    agree(amsgrad);
    method::RMSprop centered;
    centered.centered = true;
    centered.momentum = 0.9;
    agree(centered);
    return result();
}
