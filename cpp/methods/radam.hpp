// RAdam (Liu et al. 2020, arXiv:1908.03265, Algorithm 2)
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct RAdam {
    enum Below { sgd, skip };

    static constexpr const char* name = "RAdam";
    Power beta1, beta2;
    double rectify_above = 4;
    int64_t rectify_after = -1;  ///< a step number; negative: ρ_t decides
    Below below = sgd;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
        option("eps_place", epsilon.place, {"outside", "hat", "inside"});
        option("rectify_above", rectify_above);
        option("rectify_after", rectify_after);
        option("below", below, {"sgd", "skip"});
    }

    States states() const { return {{"exp_avg"}, State::squares("exp_avg_sq")}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double correction1 = double(beta1.correction(clock.step));
        const double correction2 = double(beta2.correction(clock.step));
        const Moment<double> moment{beta2.beta(), beta2.rest(), epsilon.root(correction2)};
        const double limit = rho_limit(), rho = rho_at(clock.step);
        // r needs ρ > 4, whatever the threshold.
        const bool rectified = rho > 4 && (rectify_after < 0 ? rho > rectify_above : clock.step > rectify_after);
        if (rectified) {
            const double r = std::sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho));
            const double step = clock.lr * r * epsilon.lr_factor(correction2) / correction1;
            return Update::of(Momentum<double>{beta1.beta(), beta1.rest(), step}, moment);
        }
        const Observed<Moment<double>> observed{moment};
        if (below == sgd)
            return Update::of(Momentum<double>{beta1.beta(), beta1.rest(), clock.lr / correction1}, observed);
        Update update = Update::of(Gathered<double>{beta1.beta(), beta1.rest()}, observed);
        update.moves = false;
        return update;
    }

    /// ρ∞ = 2/(1−β₂) − 1, the length of the simple average that the exponential one approaches
    FS_ANYWHERE double rho_limit() const { return double(long_run()); }

    /// ρ_t = ρ∞ − 2tβ₂ᵗ/(1−β₂ᵗ): the two terms are nearly equal at first, hence double-double throughout
    FS_ANYWHERE double rho_at(int64_t t) const {
        const DoubleDouble power = beta2.at(t);
        return double(long_run() - DoubleDouble{2.0 * double(t)} * power / beta2.correction(t));
    }

private:
    FS_ANYWHERE DoubleDouble long_run() const { return DoubleDouble{2} / beta2.correction(1) - DoubleDouble{1}; }
};

}  // namespace fusedstep::method
