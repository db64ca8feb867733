// What arrays on a device are like.
#pragma once

#include <span>
#include <vector>

#include "../kernel/stats.hpp"
#include "runtime.hpp"

namespace fusedstep::cuda {

/// Reads each array once, and waits. Blocks are added up here, in the order of the elements.
std::vector<Found> measure(std::span<const Reading> readings, Stream stream);

}  // namespace fusedstep::cuda
