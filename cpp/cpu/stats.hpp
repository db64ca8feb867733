// What arrays of gradients are like, in bits that do not depend on the number of threads.
#pragma once

#include <span>
#include <vector>

#include "../kernel/stats.hpp"

namespace fusedstep::cpu {

/// Reads each array once. Blocks are added up apart, and their sums in the order of the elements.
std::vector<Found> measure(std::span<const Reading> readings);

}  // namespace fusedstep::cpu
