// Adamax (Kingma & Ba 2015, arXiv:1412.6980, §7.1)
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct Adamax {
    static constexpr const char* name = "Adamax";
    Power beta1;
    Power beta2;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
        option("eps_place", epsilon.place, {"outside", nullptr, nullptr, "max"});
    }

    States states() const { return {{"exp_avg"}, State::squares("exp_inf")}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double step = clock.lr / double(beta1.correction(clock.step));
        return Update::of(Momentum<double>{beta1.beta(), beta1.rest(), step}, infinity(beta2, epsilon));
    }

    FS_ANYWHERE static Infinity<double> infinity(const Power& beta2, const Epsilon& epsilon) {
        const bool in = epsilon.place == Epsilon::max;
        return {beta2.beta(), in ? epsilon.eps : 0, in ? 0 : epsilon.eps};
    }
};

}  // namespace fusedstep::method
