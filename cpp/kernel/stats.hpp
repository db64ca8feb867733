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

/// A gradient, and its parameter before and after a step where they are given.
struct Reading {
    const void* grad = nullptr;
    Type type = Type::float32;
    int64_t size = 0;
    const void* before = nullptr;
    const void* after = nullptr;
    Type param_type = Type::float32;

    FS_ANYWHERE int64_t blocks() const { return (size + stats_block - 1) / stats_block; }
};

/// What is kept of each block until all are there.
struct BlockSums {
    Moments moments;
    Change change;
};

struct Found {
    Moments moments;
    Change change;
    Counts counts;

    /// Blocks come in the order of the elements.
    void add(const BlockSums& block) {
        moments.absolute += block.moments.absolute;
        moments.squares += block.moments.squares;
        moments.sum += block.moments.sum;
        if (moments.largest < block.moments.largest) moments.largest = block.moments.largest;
        change.squares += block.change.squares;
        change.before += block.change.before;
    }
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
