// What arrays of gradients are like, in bits that do not depend on the number of threads.
#pragma once

#include <span>
#include <vector>

#include "../kernel/stats.hpp"

namespace fusedstep::cpu {

/// A gradient, and its parameter before and after a step where they are given.
struct Reading {
    const void* grad = nullptr;
    Type type = Type::float32;
    int64_t size = 0;
    const void* before = nullptr;
    const void* after = nullptr;
    Type param_type = Type::float32;
};

struct Found {
    Moments moments;
    Change change;
    Counts counts;
};

/// Reads each array once. Blocks are added up apart, and their sums in the order of the elements.
std::vector<Found> measure(std::span<const Reading> readings);

}  // namespace fusedstep::cpu
