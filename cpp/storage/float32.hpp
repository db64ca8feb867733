// float32 as the storage of float64.
#pragma once

#include "bits.hpp"

namespace fusedstep {

struct Float32 {
    /// Up with the probability of the first 16 bits that are cut off; `random` has 16 bits.
    static FS_RULE float stochastic(double x, uint32_t random) {
        const uint64_t bits = as<uint64_t>(x);
        const uint64_t rounded = (bits + (uint64_t(random) << 13)) & ~((uint64_t(1) << 29) - 1);
        return float(as<double>(x == x ? rounded : bits));
    }
};

}  // namespace fusedstep
