// One step on the processor: all tensors in one parallel region.
#pragma once

#include <span>

#include "../kernel/plan.hpp"
#include "shares.hpp"

namespace fusedstep::cpu {

/// Runs the work in the active target, in the scope of a FloatMode. The result does not depend on the number of
/// threads.
void run(std::span<const Work> work, Way way = Way::up);

/// Prepares, runs and advances a plan, all or nothing. False where its stages skip the step.
bool step(Plan& plan);

}  // namespace fusedstep::cpu
