// A method changes its rule at most once, as its averages fill: what a GPU, whose steps the processor does not count,
// is given kernels for.
#include <utility>
#include <variant>

#include "../methods/registry.hpp"
#include "check.hpp"

namespace {

using namespace fusedstep;

template <class One>
void check_phases(const One& method) {
    const auto rule_at = [&](int64_t step) { return method.at({step, 0.1, 0.5}).rule; };
    int changes = 0;
    for (int64_t step = 2; step <= 3000; ++step) changes += rule_at(step) != rule_at(step - 1);
    CHECK(changes <= 1);
    const int last = rule_at(late_step);
    CHECK(changes == 0 || last == rule_at(3000));
    CHECK(last == rule_at(late_step / 3) && last == rule_at(late_step * 5 + 1));
}

template <size_t... index>
void all(std::index_sequence<index...>) {
    (check_phases(std::variant_alternative_t<index, Method>()), ...);
}

}  // namespace

int main() {
    all(std::make_index_sequence<std::variant_size_v<Method>>());
    for (const double beta : {0.0, 0.5, 0.9, 0.99, 0.999, 1 - 0x1p-24})
        for (const bool flag : {false, true}) {
            method::RAdam radam;
            radam.beta1 = Power(0.9);
            radam.beta2 = Power(beta);
            radam.below = flag ? method::RAdam::skip : method::RAdam::sgd;
            check_phases(radam);
            radam.rectify_after = 4;
            check_phases(radam);
            method::Adam adam;
            adam.beta2 = Power(beta);
            adam.amsgrad = flag;
            adam.variance_warmup = 2000;
            check_phases(adam);
            method::SGD sgd;
            sgd.ball = {beta, 0.5, false, HeavyBall::lr_outside};
            check_phases(sgd);
            method::WindowedAdagrad window;
            window.recent.window = flag ? 1 : 7;
            check_phases(window);
        }
    return result();
}
