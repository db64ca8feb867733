// RMSProp (Tieleman & Hinton 2012, lecture 6.5; centered: Graves 2013, arXiv:1308.0850, §4.2)
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct RMSprop {
    enum Rate { outside, inside };

    static constexpr const char* name = "RMSprop";
    double alpha = 0, momentum = 0;
    bool centered = false;
    Rate momentum_lr = outside;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        option("alpha", alpha);
        option("eps", epsilon.eps);
        option("momentum", momentum);
        option("centered", centered);
        option("eps_place", epsilon.place, {"outside", nullptr, "inside"});
        option("momentum_lr", momentum_lr, {"outside", "inside"});
    }

    States states() const {
        States states;
        if (momentum != 0) states.push_back({"momentum_buffer"});
        states.push_back(State::squares("square_avg"));
        if (centered) states.push_back({"grad_avg"});
        return states;
    }

    FS_ANYWHERE Update at(const Clock& clock) const {
        const Root<double> root = epsilon.root(1);
        if (centered) return with(Centered<double>{alpha, 1 - alpha, root}, clock.lr);
        return with(Moment<double>{alpha, 1 - alpha, root}, clock.lr);
    }

private:
    template <class Psi>
    FS_ANYWHERE Update with(const Psi& psi, double lr) const {
        if (momentum == 0) return Update::of(Gradient<double>{lr}, psi);
        const bool in = momentum_lr == inside;
        return Update::of(Preconditioned<double, Psi>{momentum, in ? lr : 1, in ? 1 : lr, psi});
    }
};

}  // namespace fusedstep::method
