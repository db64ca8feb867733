// The parts that methods are put together from: each reads its own options and makes a φ or a ψ of them. Where options
// decide which one, it is passed on to `then`.
#pragma once

#include <cmath>

#include "power.hpp"
#include "state.hpp"
#include "update.hpp"

namespace fusedstep {

/// Momentum as SGD has it; without it, the gradient itself.
struct HeavyBall {
    enum Buffer { lr_outside, lr_inside, ema };

    double momentum = 0, dampening = 0;
    bool nesterov = false;
    Buffer buffer = lr_outside;

    template <class Reader>
    void read(Reader& option) {
        option("momentum", momentum);
        option("dampening", dampening);
        option("nesterov", nesterov);
        option("buffer", buffer, {"lr_outside", "lr_inside", "ema"});
    }

    void add_states(States& states) const {
        if (momentum != 0) states.push_back({"momentum_buffer"});
    }

    template <class Then>
    FS_ANYWHERE Update at(const Clock& clock, const Then& then) const {
        const double lr = clock.lr;
        if (momentum == 0) return then(Gradient<double>{lr});
        // The first gradient enters the buffer undampened, as in torch.
        const double fresh = clock.step == 1 ? 1 : 1 - dampening;
        const double b = buffer == lr_inside ? lr : buffer == ema ? 1 - momentum : fresh;
        const double step = buffer == lr_inside ? 1 : lr;
        if (!nesterov) return then(Momentum<double>{momentum, b, step});
        return then(Nesterov<double>{momentum, b, step * momentum, buffer == lr_outside ? lr : step * b});
    }
};

/// Where ε stands in D, and what the root then asks of the learning rate.
struct Epsilon {
    enum Place { outside, hat, inside, max };

    double eps = 0, eps_root = 0;
    Place place = outside;

    /// `correction` is 1 − β₂ᵗ, or what else v is to be divided by.
    FS_ANYWHERE Root<double> root(double correction) const {
        const double q = 1 / std::sqrt(correction);
        switch (place) {
            case inside: return {(eps + eps_root) * correction, q, 0};
            case hat: return {eps_root * correction, 1, eps};
            default: return {eps_root * correction, q, eps};
        }
    }
    /// The same for a v that is corrected already: `hat` puts back what its learning rate takes.
    FS_ANYWHERE Root<double> root_of_corrected(double correction) const {
        Root<double> made = root(1);
        if (place == hat) made.q = std::sqrt(correction);
        return made;
    }
    FS_ANYWHERE double lr_factor(double correction) const { return place == hat ? std::sqrt(correction) : 1; }

    /// The same D, for a learning rate that stays as it is.
    FS_ANYWHERE Epsilon without_lr_factor(double correction) const {
        if (place != hat) return *this;
        return {eps / std::sqrt(correction), eps_root, outside};
    }
};

/// Adagrad's sum.
struct Accumulator {
    double initial = 0, lr_decay = 0;
    bool zero_at_zero = false;

    template <class Reader>
    void read(Reader& option) {
        option("initial_accumulator_value", initial);
        option("lr_decay", lr_decay);
        option("zero_at_zero", zero_at_zero);
    }

    void add_states(States& states) const { states.push_back(State::squares("sum", initial)); }

    FS_ANYWHERE double lr(const Clock& clock) const { return clock.lr / (1 + double(clock.step - 1) * lr_decay); }

    FS_ANYWHERE Sum<double> psi(const Epsilon& epsilon) const { return {epsilon.root(1), zero_at_zero ? HUGE_VAL : 0}; }
};

/// The sum or the mean of the last squares.
struct Recent {
    enum Reduce { sum, mean };

    int64_t window = 1;
    Reduce reduce = sum;

    template <class Reader>
    void read(Reader& option) {
        option("window", window);
        option("reduce", reduce, {"sum", "mean"});
    }

    void add_states(States& states) const {
        states.push_back(State::squares("sum"));
        states.push_back({"ring", 0, State::ring, window});
    }

    FS_ANYWHERE Window<double> psi(const Epsilon& epsilon, const Clock& clock) const {
        const int64_t count = reduce == sum ? 1 : clock.step < window ? clock.step : window;
        return {epsilon.root(double(count)), slot(clock) == window - 1 ? 1.0 : 0.0};
    }

    FS_ANYWHERE int64_t slot(const Clock& clock) const { return (clock.step - 1) % window; }
};

/// A moment's largest value so far, of v or of the corrected v.
struct Largest {
    enum Order { v, v_hat };

    Order order = v;

    template <class Reader>
    void read(Reader& option) {
        option("amsgrad_order", order, {"v", "v_hat"});
    }

    FS_ANYWHERE Peak<double> psi(const Power& beta, const Epsilon& epsilon, double correction) const {
        if (order == v) return {beta.beta(), beta.rest(), 1, epsilon.root(correction)};
        return {beta.beta(), beta.rest(), 1 / correction, epsilon.root_of_corrected(correction)};
    }
};

}  // namespace fusedstep
