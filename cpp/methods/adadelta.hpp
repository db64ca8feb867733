// Adadelta: see rules/adadelta.hpp
#pragma once

#include "state.hpp"
#include "update.hpp"

namespace fusedstep::method {

struct Adadelta {
    static constexpr const char* name = "Adadelta";
    double rho = 0, eps = 0;

    template <class Reader>
    void read(Reader& option) {
        option("rho", rho);
        option("eps", eps);
    }

    States states() const { return {State::squares("square_avg"), State::squares("acc_delta")}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        return Update::of(fusedstep::Adadelta<double>{rho, 1 - rho, eps, clock.lr});
    }
};

}  // namespace fusedstep::method
