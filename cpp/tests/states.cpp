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
    // The first steps, which some methods take differently, and later ones.
    for (const int64_t step : {1, 4, 6, 1000}) {
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

template <class One, class Set>
void agree_with(Set set) {
    One method;
    set(method);
    agree(method);
}

void adam() {
    for (const bool amsgrad : {false, true})
        for (const int64_t warmup : {0, 5})
            agree_with<method::Adam>([=](auto& method) {
                method.amsgrad = amsgrad;
                method.variance_warmup = warmup;
            });
    agree_with<method::RAdam>([](auto& method) { method.below = method::RAdam::skip; });
}

void buffers() {
    for (const bool nesterov : {false, true})
        agree_with<method::SGD>([=](auto& method) {
            method.ball.momentum = 0.9;
            method.ball.nesterov = nesterov;
        });
    for (const bool centered : {false, true})
        for (const double momentum : {0., 0.9})
            agree_with<method::RMSprop>([=](auto& method) {
                method.centered = centered;
                method.momentum = momentum;
            });
}

void adaptive() {
    using Method = method::Adaptive;
    for (const auto phi : {Method::gradient, Method::heavy_ball, Method::ema, Method::nesterov})
        for (const auto psi :
             {Method::one, Method::sum, Method::window, Method::ema_square, Method::ema_max, Method::infinity})
            agree_with<Method>([=](Method& method) {
                method.phi = phi;
                method.psi = psi;
                method.ball.momentum = 0.9;
                method.ball.nesterov = phi == Method::nesterov;
            });
}

}  // namespace

int main() {
    all(std::make_index_sequence<std::variant_size_v<Method>>());
    adam();
    buffers();
    adaptive();
    return result();
}
