// How many processors this process may use, and who says so.
#pragma once

#include <string>

namespace fusedstep::cpu {

struct ThreadDefault {
    int count;
    std::string source;
};

/// FUSEDSTEP_NUM_THREADS, then OMP_NUM_THREADS, then the affinity mask and the control group's share. Read once.
const ThreadDefault& default_threads();

}  // namespace fusedstep::cpu
