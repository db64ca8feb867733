// A target: every loop, compiled for one instruction set.
#pragma once

#include "../rules/list.hpp"
#include "stats.hpp"
#include "work.hpp"

namespace fusedstep {

/// Runs one rule over elements [begin, end). Coefficients come in double and are rounded here, once.
using Loop = void (*)(const double* numbers, const Border& border, const Buffers& buffers, int64_t begin, int64_t end);

/// Folds the squares of a closed round into suffix sums (see rule Window) over elements [begin, end).
using Fold = void (*)(const Ring& ring, int64_t begin, int64_t end);

/// Runs one rule over elements [begin, end) of arrays that are all bfloat16. States that are slow, and the parameter if
/// that is asked for, are rounded by random bits: `keys` has one for each of these arrays, `first` is the number of the
/// first element.
using HalfLoop = void (*)(const double* numbers, const Border& border, const Buffers& buffers, const uint32_t* keys,
                          uint32_t first, int64_t begin, int64_t end);

struct Halves {
    HalfLoop loops[Rules::size][2][2];  ///< by rule, whether decay is coupled, and whether parameters are random too
    unsigned slow[Rules::size];         ///< the rules' own
};

struct Target;

/// Brings elements [begin, end) of a tensor with cargo to the rule's loop and back.
using Pass = void (*)(const Target& target, const Work& work, int64_t begin, int64_t end);

/// The sum of the squares of so many numbers, in double.
using Squares = double (*)(const void* values, int64_t count);

using Passes = Pass[arithmetic_types];
using Norms = Squares[array_types];

struct Target {
    const char* name;
    Loop loops[Rules::size][arithmetic_types][2];  ///< by rule, type, and whether decay is coupled
    Fold folds[arithmetic_types];
    const Halves* halves;
    const Passes* passes;
    const Norms* norms;
    const Stats* stats;
};

}  // namespace fusedstep
