// A target: every loop, compiled for one instruction set.
#pragma once

#include "../methods/decay.hpp"
#include "../rules/list.hpp"
#include "buffers.hpp"

namespace fusedstep {

/// Runs one rule over elements [begin, end). Coefficients come in double and are rounded here, once.
using Loop = void (*)(const double* numbers, const Border& border, const Buffers& buffers, int64_t begin, int64_t end);

/// Folds the squares of a closed round into suffix sums (see rule Window) over elements [begin, end).
using Fold = void (*)(const Ring& ring, int64_t begin, int64_t end);

struct Target {
    const char* name;
    Loop loops[Rules::size][type_count][2];  ///< by rule, type, and whether decay is coupled
    Fold folds[type_count];
};

}  // namespace fusedstep
