// The generic adaptive method: any φ with any ψ (Reddi et al. 2018, Algorithm 1)
#pragma once

#include "adamax.hpp"
#include "parts.hpp"

namespace fusedstep::method {

struct Adaptive {
    enum PhiKind { gradient, heavy_ball, ema, nesterov };
    enum PsiKind { one, sum, window, ema_square, ema_max, infinity };

    static constexpr const char* name = "Adaptive";
    PhiKind phi = gradient;
    PsiKind psi = one;
    HeavyBall ball;
    Accumulator accumulator;
    Recent recent;
    Largest largest;
    Power beta1, beta2;
    bool bias_correction = true;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("phi", phi, {"gradient", "heavy_ball", "ema", "nesterov"});
        option("psi", psi, {"one", "sum", "window", "ema", "ema_max", "infinity"});
        option("momentum", ball.momentum);
        option("dampening", ball.dampening);
        option("buffer", ball.buffer, {"lr_outside", "lr_inside", "ema"});
        ball.nesterov = phi == nesterov;
        accumulator.read(option);
        recent.read(option);
        largest.read(option);
        option("betas", beta1, beta2);
        option("bias_correction", bias_correction);
        option("eps", epsilon.eps);
        option("eps_place", epsilon.place, {"outside", "hat", "inside", "max"});
        option("eps_root", epsilon.eps_root);
    }

    States states() const {
        States states;
        if (phi == ema) states.push_back({"exp_avg"});
        if (phi == heavy_ball || phi == nesterov) ball.add_states(states);
        if (psi == sum) accumulator.add_states(states);
        if (psi == window) recent.add_states(states);
        if (psi == ema_square || psi == ema_max) states.push_back(State::squares("exp_avg_sq"));
        if (psi == ema_max) states.push_back(State::largest("max_exp_avg_sq"));
        if (psi == infinity) states.push_back(State::squares("exp_inf"));
        return states;
    }

    FS_ANYWHERE Update at(Clock clock) const {
        const bool averages = psi == ema_square || psi == ema_max;
        const double correction = averages && bias_correction ? double(beta2.correction(clock.step)) : 1;
        // A buffer that holds η would keep the factors of earlier steps, which belong to their ψ.
        const bool kept = ball.buffer == HeavyBall::lr_inside;
        const Epsilon form = kept ? epsilon.without_lr_factor(correction) : epsilon;
        clock.lr = (psi == sum ? accumulator.lr(clock) : clock.lr) * form.lr_factor(correction);
        Update update = phi_at(clock, [&](const auto& p) {
            return psi_at(clock, form, correction, [&](const auto& q) { return Update::of(p, q); });
        });
        if (psi == window) {
            update.window = recent.window;
            update.slot = recent.slot(clock);
        }
        return update;
    }

private:
    template <class Then>
    FS_ANYWHERE Update phi_at(const Clock& clock, const Then& then) const {
        switch (phi) {
            case gradient: return then(Gradient<double>{clock.lr});
            case ema: {
                const double correction = bias_correction ? double(beta1.correction(clock.step)) : 1;
                return then(Momentum<double>{beta1.beta(), beta1.rest(), clock.lr / correction});
            }
            default: return ball.at(clock, then);
        }
    }

    template <class Then>
    FS_ANYWHERE Update psi_at(const Clock& clock, const Epsilon& form, double correction, const Then& then) const {
        switch (psi) {
            case sum: return then(accumulator.psi(form));
            case window: return then(recent.psi(form, clock));
            case ema_square: return then(Moment<double>{beta2.beta(), beta2.rest(), form.root(correction)});
            case ema_max: return then(largest.psi(beta2, form, correction));
            case infinity: return then(Adamax::infinity(beta2, form));
            default: return then(One<double>{});
        }
    }
};

}  // namespace fusedstep::method
