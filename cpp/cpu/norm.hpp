// How large gradients are, in bits that do not depend on the number of threads.
#pragma once

#include <span>
#include <vector>

#include "../kernel/work.hpp"

namespace fusedstep::cpu {

/// Σg² of each tensor of the work, in the scope of a FloatMode: by blocks, and then by pages of their sums, as
/// kernel/buffers.hpp has them.
std::vector<double> squares(std::span<const Work> work);

}  // namespace fusedstep::cpu
