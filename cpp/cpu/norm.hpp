// How large gradients are, in bits that do not depend on the number of threads.
#pragma once

#include <span>
#include <vector>

#include "../kernel/work.hpp"

namespace fusedstep::cpu {

/// Σg² of each tensor of the work, in the scope of a FloatMode. Blocks of 4096 elements, counted in the whole tensor,
/// are added up apart, and their sums in the order of the elements.
std::vector<double> squares(std::span<const Work> work);

}  // namespace fusedstep::cpu
