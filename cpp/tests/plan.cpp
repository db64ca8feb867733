// A plan as another program uses it: formulas written out by hand, counters, skipped tensors, rings, carried scalars.
#include "../kernel/plan.hpp"

#include <cmath>
#include <deque>
#include <vector>

#include "../cpu/step.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

template <class Real>
Tensor tensor_of(std::vector<Real>& param, const std::vector<Real>& grad) {
    Tensor tensor;
    tensor.calculate_in(sizeof(Real) == 4 ? Type::float32 : Type::float64);
    tensor.size = int64_t(param.size());
    tensor.extent = {0, tensor.size};
    tensor.buffers.param = param.data();
    tensor.buffers.grad = grad.data();
    return tensor;
}

method::Adam adam() {
    method::Adam made;
    made.beta1 = Power(0.5);
    made.beta2 = Power(0.75);
    made.epsilon.eps = 0.125;
    return made;
}

/// Adam's step t in double, as in the paper; with numbers so short that its sums and products are exact.
double by_hand(double param, double grad, double& m, double& v, int t, double lr) {
    m = 0.5 * m + 0.5 * grad;
    v = 0.75 * v + 0.25 * (grad * grad);
    const double step = lr / (1 - std::pow(0.5, t)), q = 1 / std::sqrt(1 - std::pow(0.75, t));
    return param - step * m / (std::sqrt(v) * q + 0.125);
}

void two_tensors_one_skipped() {
    std::vector<double> p{1, 2, 3}, g{0.5, -2, 4}, m(3), v(3);
    std::vector<float> q{1, 2}, h{3, -3}, n(2), w(2);
    const std::vector<float> q_before = q;
    Plan plan;
    plan.groups = {{adam(), {}, 0.25}};
    plan.tensors = {tensor_of(p, g), tensor_of(q, h)};
    plan.tensors[0].buffers.state[0] = m.data();
    plan.tensors[0].buffers.state[1] = v.data();
    plan.tensors[1].buffers.state[0] = n.data();
    plan.tensors[1].buffers.state[1] = w.data();

    std::vector<double> expected = p, m_expected(3), v_expected(3);
    for (int t = 1; t <= 5; ++t) {
        plan.tensors[1].buffers.grad = t == 2 ? nullptr : h.data();
        const std::vector<float> before = q;
        cpu::step(plan);
        CHECK((q == before) == (t == 2));
        for (size_t i = 0; i < 3; ++i) expected[i] = by_hand(expected[i], g[i], m_expected[i], v_expected[i], t, 0.25);
        CHECK(p == expected && m == m_expected && v == v_expected);
    }
    CHECK(plan.tensors[0].step == 5 && plan.tensors[1].step == 4);
}

/// Tensors at the same step share one update; those at others, however many, have their own.
void updates_by_step() {
    std::deque<std::vector<double>> params(100, {0, 0});
    const std::vector<double> grad{1, 1};
    method::Adagrad adagrad;
    adagrad.accumulator.lr_decay = 1;
    Plan plan;
    plan.groups = {{adagrad, {}, 1}};
    std::deque<std::vector<double>> sums(100, {0, 0});
    for (size_t i = 0; i < params.size(); ++i) {
        plan.tensors.push_back(tensor_of(params[i], grad));
        plan.tensors[i].buffers.state[0] = sums[i].data();
        plan.tensors[i].step = int64_t(i / 2);
    }
    const std::span<const Work> work = plan.prepare();
    CHECK(work.size() == params.size());
    for (size_t i = 0; i < work.size(); ++i) {
        CHECK(work[i].update->numbers[0] == 1 / (1 + double(i / 2)));
        CHECK(work[i].update == work[i / 2 * 2].update && (i < 2 || work[i].update != work[i - 2].update));
        CHECK(work[i].buffers.param == params[i].data());
    }
    CHECK(plan.tensors[7].step == 3);  // preparing is not yet a step
    plan.advance();
    for (size_t i = 0; i < params.size(); ++i) CHECK(plan.tensors[i].step == int64_t(i / 2) + 1);
}

void groups_in_turns() {
    std::vector<double> param{1}, sum{0};
    const std::vector<double> grad{1};
    Plan plan;
    plan.groups = {{method::Adagrad(), {}, 1}, {method::Adagrad(), {}, 2}};
    for (int i = 0; i < 6; ++i) {
        plan.tensors.push_back(tensor_of(param, grad));
        plan.tensors.back().buffers.state[0] = sum.data();
        plan.tensors.back().group = i % 2;
    }
    const std::span<const Work> work = plan.prepare();
    for (size_t i = 0; i < work.size(); ++i) {
        CHECK(work[i].update->numbers[0] == 1 + double(i % 2));
        CHECK(work[i].update == work[i % 2].update);
    }
}

void empty_tensors() {
    std::vector<double> p{1}, none;
    const std::vector<double> g{1}, no_grad{};
    Plan plan;
    plan.groups = {{method::SGD(), {}, 0.5}};
    plan.tensors = {tensor_of(none, no_grad), tensor_of(p, g), tensor_of(none, no_grad)};
    plan.tensors[0].buffers.grad = &plan;  // an empty gradient is there, wherever it is
    CHECK(plan.prepare().size() == 1);
    cpu::step(plan);
    CHECK(p[0] == 0.5 && plan.tensors[0].step == 1 && plan.tensors[1].step == 1 && plan.tensors[2].step == 0);
    Plan nothing;
    cpu::step(nothing);
}

void groups_and_decay() {
    std::vector<double> params[4] = {{2}, {2}, {2}, {2}};
    const std::vector<double> grad{1};
    Plan plan;
    plan.groups = {
        {method::SGD(), {0.5, Decay::coupled, 0, false}, 0.25},            // 2 − ¼(1 + ½·2)
        {method::SGD(), {0.5, Decay::decoupled, 0, false}, 0.25},          // 2(1 − ¼·½) − ¼
        {method::SGD(), {0.5, Decay::fully_decoupled, 0.5, false}, 0.25},  // 2(1 − ½·½) − ¼
        {method::SGD(), {0.5, Decay::coupled, 0, true}, 0.25},             // 2 − ¼(−1 + ½·2)
    };
    for (int i = 0; i < 4; ++i) {
        plan.tensors.push_back(tensor_of(params[i], grad));
        plan.tensors.back().group = i;
    }
    cpu::step(plan);
    CHECK(params[0][0] == 1.5 && params[1][0] == 1.5 && params[2][0] == 1.25 && params[3][0] == 2);
}

/// The sum of the last squares. Gradients are whole numbers, so that every order of adding gives the same.
void windows(int64_t window, bool with_momentum) {
    constexpr int64_t size = 37;
    std::vector<double> param(size), grad(size), buffer(size), sum(size), ring(size_t(window * size));
    Plan plan;
    if (with_momentum) {
        method::Adaptive adaptive;
        adaptive.phi = method::Adaptive::heavy_ball;
        adaptive.psi = method::Adaptive::window;
        adaptive.ball.momentum = 0.5;
        adaptive.recent.window = window;
        plan.groups = {{adaptive, {}, 1}};
    } else {
        method::WindowedAdagrad adagrad;
        adagrad.recent.window = window;
        plan.groups = {{adagrad, {}, 1}};
    }
    plan.tensors = {tensor_of(param, grad)};
    Tensor& tensor = plan.tensors[0];
    tensor.buffers.state[with_momentum] = sum.data();
    if (with_momentum) tensor.buffers.state[0] = buffer.data();
    tensor.ring = {ring.data(), size, window};

    Random random(uint64_t(window) * 2 + with_momentum);
    std::vector<double> expected(size), momentum(size);
    std::vector<std::vector<double>> grads;
    for (int64_t t = 1; t <= 4 * window + 1; ++t) {
        for (double& g : grad) g = double(1 + random.below(100));
        grads.push_back(grad);

        const int64_t slot = (t - 1) % window;
        const Work work = plan.prepare()[0];
        CHECK(work.buffers.state[1 + with_momentum] == &ring[size_t(slot * size)]);
        CHECK(work.buffers.state[2 + with_momentum] == &ring[size_t((slot + 1) % window * size)]);
        CHECK((work.ring.planes == window) == (slot == window - 1) && (work.ring.planes == 0) == (slot != window - 1));

        cpu::step(plan);
        for (size_t i = 0; i < size_t(size); ++i) {
            double squares = 0;
            for (int64_t back = 0; back < std::min(window, t); ++back) {
                const double g = grads[size_t(t - 1 - back)][i];
                squares += g * g;
            }
            momentum[i] = with_momentum ? 0.5 * momentum[i] + grad[i] : grad[i];
            expected[i] -= momentum[i] / std::sqrt(squares);
        }
        CHECK(param == expected);
    }
}

/// NAdam's product of μ goes from step to step, for each tensor its own.
void carried() {
    std::vector<double> p{1}, q{1};
    const std::vector<double> g{2};
    std::vector<double> m(2), v(2);
    double products[2] = {1, 1};
    method::NAdam nadam;
    nadam.beta1 = Power(0.5);
    nadam.beta2 = Power(0.75);
    nadam.fading = method::NAdam::by(0);  // μ = β₁/2 in every step
    Plan plan;
    plan.groups = {{nadam, {}, 0.5}};
    plan.tensors = {tensor_of(p, g), tensor_of(q, g)};
    for (size_t i = 0; i < 2; ++i) {
        plan.tensors[i].buffers.state[0] = &m[i];
        plan.tensors[i].buffers.state[1] = &v[i];
        plan.tensors[i].carry = &products[i];
    }
    double expected = 1, average = 0, square = 0;
    for (int t = 1; t <= 3; ++t) {
        plan.tensors[1].buffers.grad = t == 2 ? nullptr : g.data();
        cpu::step(plan);
        average = 0.5 * average + 0.5 * 2;
        square = 0.75 * square + 0.25 * 4;
        const double mu = 0.25, product = std::pow(mu, t), q_hat = 1 / std::sqrt(1 - std::pow(0.75, t));
        const double of_average = 0.5 * mu / (1 - product * mu), of_gradient = 0.5 * (1 - mu) / (1 - product);
        expected -= (of_average * average + of_gradient * 2) / (std::sqrt(square) * q_hat + nadam.epsilon.eps);
        CHECK(p[0] == expected && products[0] == product);
    }
    CHECK(products[1] == 0.0625 && plan.tensors[1].step == 2 && q[0] != p[0]);

    // At the same step, but with another product: another update.
    plan.tensors[1].step = plan.tensors[0].step;
    const std::span<const Work> work = plan.prepare();
    CHECK(work.size() == 2 && work[0].update != work[1].update);
    CHECK(work[0].update->numbers[3] != work[1].update->numbers[3]);
}

/// RAdam rectifies above its threshold, not at it, and after its step, not in it.
void thresholds() {
    method::RAdam radam;
    radam.beta1 = Power(0.9);
    radam.beta2 = Power(0.999);
    const int rectified = Rules::place<Adaptive<Momentum<double>, Moment<double>>>;
    radam.rectify_above = radam.rho_at(7);
    CHECK(radam.at({7, 1, 1}).rule != rectified && radam.at({8, 1, 1}).rule == rectified);
    radam.rectify_after = 9;
    CHECK(radam.at({9, 1, 1}).rule != rectified && radam.at({10, 1, 1}).rule == rectified);
    radam.below = method::RAdam::skip;
    CHECK(!radam.at({9, 1, 1}).moves && radam.at({10, 1, 1}).moves);
    CHECK(radam.rho_at(4) < 4 && radam.rho_at(5) > 4);
}

}  // namespace

int main() {
    two_tensors_one_skipped();
    updates_by_step();
    groups_in_turns();
    empty_tensors();
    groups_and_decay();
    for (int64_t window = 1; window <= 6; ++window) {
        windows(window, false);
        windows(window, true);
    }
    carried();
    thresholds();
    return result();
}
