// What is counted and summed up of an array's numbers, a block at a time.
#pragma once

#include "buffers.hpp"

namespace fusedstep {

/// So many elements, counted from the first, are summed up apart.
constexpr int64_t stats_block = 4096;

/// Bin e holds 2^(e − 127) ≤ |x| < 2^(e − 126), as float32 has its exponents; the first all that is smaller but not
/// zero, the last all that is larger.
constexpr int bins = 256;

/// Of a block; only of what is finite.
struct Moments {
    double absolute = 0, squares = 0, sum = 0, largest = 0;
};

/// Of any number of blocks.
struct Counts {
    int64_t zeros = 0, nonfinite = 0, same = 0;
    int64_t histogram[bins] = {};
};

/// Of a block of parameters, of which `before` and `after` are what a step found and what it left.
struct Change {
    double squares = 0, before = 0;
};

/// Measures a block, and adds to the counts.
using Measure = void (*)(const void* values, int64_t count, Moments& moments, Counts& counts);

/// Compares two blocks, and counts the elements with the same bits.
using Compare = void (*)(const void* before, const void* after, int64_t count, Change& change, Counts& counts);

struct Stats {
    Measure measure[array_types];
    Compare compare[array_types];
};

}  // namespace fusedstep
