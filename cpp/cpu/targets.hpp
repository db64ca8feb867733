// The targets that were built, which of them this processor can run, and the one in use.
#pragma once

#include <span>
#include <string_view>

#include "../kernel/target.hpp"

namespace fusedstep::cpu {

/// What the processor and the operating system together allow.
struct Features {
    bool v2 = false, v3 = false, v4 = false;
};
Features detect();

/// Built, best first.
std::span<const Target* const> built_targets();

bool runs(const Target& target, const Features& features);
bool runs(const Target& target);

/// The target in use: the forced one, otherwise the best that runs. Null where not even the baseline does.
const Target* active_target();

/// Uses the named target from now on; an empty name goes back to the best. False: not built, or does not run here.
bool force_target(std::string_view name);

}  // namespace fusedstep::cpu
