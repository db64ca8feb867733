// Adam (Kingma & Ba 2015, arXiv:1412.6980), AMSGrad (Reddi et al. 2018); AdamW (Loshchilov & Hutter 2019) is Adam in a
// group whose decay is decoupled. `variance_warmup`: for so many steps v is gathered alone (Adam-2k of Liu et al.
// 2020).
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct Adam {
    static constexpr const char* name = "Adam";
    Power beta1, beta2;
    bool amsgrad = false, bias_correction = true;
    int64_t variance_warmup = 0;
    Largest largest;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
        option("eps", epsilon.eps);
        option("amsgrad", amsgrad);
        largest.read(option);
        option("eps_place", epsilon.place, {"outside", "hat", "inside"});
        option("eps_root", epsilon.eps_root);
        option("bias_correction", bias_correction);
        option("variance_warmup", variance_warmup);
    }

    States states() const {
        States states = {{"exp_avg"}, State::squares("exp_avg_sq")};
        if (amsgrad) states.push_back(State::largest("max_exp_avg_sq"));
        return states;
    }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const double correction2 = bias_correction ? double(beta2.correction(clock.step)) : 1;
        const Moment<double> moment{beta2.beta(), beta2.rest(), epsilon.root(correction2)};
        const Peak<double> peak = largest.psi(beta2, epsilon, correction2);
        const int64_t moved = clock.step - variance_warmup;
        if (moved <= 0) {
            Update update = amsgrad ? Update::of(Frozen<double>{}, Observed<Peak<double>>{peak})
                                    : Update::of(Frozen<double>{}, Observed<Moment<double>>{moment});
            update.moves = false;
            return update;
        }
        const double correction1 = bias_correction ? double(beta1.correction(moved)) : 1;
        const double step = clock.lr * epsilon.lr_factor(correction2) / correction1;
        const Momentum<double> momentum{beta1.beta(), beta1.rest(), step};
        return amsgrad ? Update::of(momentum, peak) : Update::of(momentum, moment);
    }
};

}  // namespace fusedstep::method
