// NAdam (Dozat 2016, Algorithm 2): Nesterov's momentum with a schedule of its own, divided as in Adam
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct NAdam {
    static constexpr const char* name = "NAdam";
    Power beta1, beta2;
    Power fading = 1;  ///< of the momentum's schedule
    Epsilon epsilon;

    /// 0.96^ψ, for ψ = momentum_decay; beyond 2^15 it is 0.
    static Power by(double momentum_decay) {
        constexpr DoubleDouble logarithm{-0x1.4e69ed6d80eb3p-5, -0x1.067d54cb9a84cp-60};  // of the double 0.96
        if (momentum_decay >= 0x1p15) return 0;
        return double(exponential(DoubleDouble{momentum_decay} * logarithm));
    }

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
        double momentum_decay = 0;
        option("momentum_decay", momentum_decay);
        fading = by(momentum_decay);
    }

    States states() const { return {{"exp_avg"}, State::squares("exp_avg_sq"), {"mu_product", 1, State::scalar}}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double now = mu(clock.step), next = mu(clock.step + 1);
        const double product = clock.carry * now;
        const double of_average = clock.lr * next / (1 - product * next);
        const double of_gradient = clock.lr * (1 - now) / (1 - product);
        Update update =
            Update::of(Nesterov<double>{beta1.beta(), beta1.rest(), of_average, of_gradient},
                       Moment<double>{beta2.beta(), beta2.rest(), epsilon.root(double(beta2.correction(clock.step)))});
        update.carry = product;
        return update;
    }

private:
    /// μ_t = β₁(1 − (0.96^ψ)ᵗ/2)
    FS_ANYWHERE double mu(int64_t t) const { return beta1.beta() * (1 - 0.5 * double(fading.at(t))); }
};

}  // namespace fusedstep::method
