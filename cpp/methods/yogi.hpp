// Yogi (Zaheer et al. 2018, Adaptive Methods for Nonconvex Optimization, Algorithm 2)
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct Yogi {
    static constexpr const char* name = "Yogi";
    Power beta1, beta2;
    double initial = 0;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
        option("initial_accumulator_value", initial);
    }

    States states() const { return {{"exp_avg"}, State::squares("exp_avg_sq", initial)}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double step = clock.lr / double(beta1.correction(clock.step));
        return Update::of(Momentum<double>{beta1.beta(), beta1.rest(), step},
                          Additive<double>{beta2.rest(), epsilon.root(double(beta2.correction(clock.step)))});
    }
};

}  // namespace fusedstep::method
