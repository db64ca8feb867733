// One tensor in one step, as it is handed to a target.
#pragma once

#include "../methods/decay.hpp"
#include "../methods/update.hpp"
#include "cargo.hpp"

namespace fusedstep {

struct Work {
    const Update* update;
    Border border;
    Type type;  ///< that the rule calculates in
    int64_t size;
    int64_t offset;  ///< of the first element in the whole tensor
    Buffers buffers;
    Ring ring;                     ///< with planes only where this step closes a round
    const Cargo* cargo = nullptr;  ///< null where the arrays are of the rule's type and nothing is carried along
};

}  // namespace fusedstep
