// Lion: see rules/lion.hpp
#pragma once

#include "state.hpp"
#include "update.hpp"

namespace fusedstep::method {

struct Lion {
    static constexpr const char* name = "Lion";
    double beta1 = 0, beta2 = 0;

    template <class Reader>
    void read(Reader& option) {
        option("betas", beta1, beta2);
    }

    States states() const { return {{"exp_avg"}}; }

    FS_ANYWHERE Update at(const Clock& clock) const {
        return Update::of(fusedstep::Lion<double>{beta1, 1 - beta1, beta2, 1 - beta2, clock.lr});
    }
};

}  // namespace fusedstep::method
