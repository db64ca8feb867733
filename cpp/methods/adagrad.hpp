// Adagrad (Duchi, Hazan & Singer 2011), and its form that forgets: the last `window` gradients only
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct Adagrad {
    static constexpr const char* name = "Adagrad";
    Accumulator accumulator;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        accumulator.read(option);
        option("eps", epsilon.eps);
        option("eps_place", epsilon.place, {"outside", nullptr, "inside"});
    }

    States states() const {
        States states;
        accumulator.add_states(states);
        return states;
    }

    FS_ANYWHERE Update at(const Clock& clock) const {
        return Update::of(Gradient<double>{accumulator.lr(clock)}, accumulator.psi(epsilon));
    }
};

struct WindowedAdagrad {
    static constexpr const char* name = "WindowedAdagrad";
    Recent recent;
    Epsilon epsilon;

    template <class Reader>
    void read(Reader& option) {
        recent.read(option);
        option("eps", epsilon.eps);
        option("eps_place", epsilon.place, {"outside", nullptr, "inside"});
    }

    States states() const {
        States states;
        recent.add_states(states);
        return states;
    }

    FS_ANYWHERE Update at(const Clock& clock) const {
        Update update = Update::of(Gradient<double>{clock.lr}, recent.psi(epsilon, clock));
        update.window = recent.window;
        update.slot = recent.slot(clock);
        return update;
    }
};

}  // namespace fusedstep::method
