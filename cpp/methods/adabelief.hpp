// AdaBelief: see rules/adabelief.hpp
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct AdaBelief {
    static constexpr const char* name = "AdaBelief";
    Power beta1, beta2;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
    }

    States states() const { return {{"exp_avg"}, State::squares("exp_avg_var")}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double step = clock.lr / double(beta1.correction(clock.step));
        const Root<double> root = epsilon.root(double(beta2.correction(clock.step)));
        return Update::of(fusedstep::AdaBelief<double>{beta1.beta(), beta1.rest(), beta2.beta(), beta2.rest(),
                                                       epsilon.eps, step, root});
    }
};

}  // namespace fusedstep::method
