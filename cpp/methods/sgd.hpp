// Stochastic gradient descent, with momentum (Qian 1999) or Nesterov's (Nesterov 1983; Sutskever et al. 2013)
#pragma once

#include "parts.hpp"

namespace fusedstep::method {

struct SGD {
    static constexpr const char* name = "SGD";
    HeavyBall ball;

    template <class Reader>
    void read(Reader& option) {
        ball.read(option);
    }

    States states() const {
        States states;
        ball.add_states(states);
        return states;
    }

    FS_ANYWHERE Update at(const Clock& clock) const {
        return ball.at(clock, [](const auto& phi) { return Update::of(phi, One<double>{}); });
    }
};

}  // namespace fusedstep::method
