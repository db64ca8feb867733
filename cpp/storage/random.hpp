// Bits for stochastic rounding: a hash of what is rounded, never of who rounds it. So they do not depend on threads,
// lanes, launches or shards.
#pragma once

#include <stdint.h>

#include "../rules/rule.hpp"

namespace fusedstep {

constexpr uint64_t golden = 0x9e3779b97f4a7c15u;
constexpr uint32_t golden_32 = 0x9e3779b1;

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
FS_RULE uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/// What the elements of a tensor have in common in one step.
FS_RULE uint64_t random_root(uint64_t seed, uint64_t step, uint64_t tensor) {
    uint64_t root = mixed(seed + golden);
    root = mixed((root ^ step) + golden);
    return mixed((root ^ tensor) + golden);
}

/// What those of one array have in common. `draw` tells a tensor's arrays apart, `high` is the upper half of the
/// elements' numbers.
FS_RULE uint32_t random_key(uint64_t root, uint64_t draw, uint64_t high) {
    return uint32_t(mixed((root ^ (draw << 32 | high)) + golden) >> 32);
}

/// 16 bits for an element, by the lower half of its number: steps of the golden section from a random start (Fibonacci
/// hashing, Knuth 6.4). For one element they are as random as the key is from step to step; among the elements of a
/// step they are spread more evenly than random ones, so that what is rounded up and down cancels sooner.
struct Draws {
    uint32_t sum;

    FS_RULE Draws(uint32_t key, uint32_t element) : sum(element * golden_32 + key) {}

    FS_RULE uint32_t bits() const { return sum >> 16; }
    FS_RULE void advance() { sum += golden_32; }  ///< to the next element, without a product
};
FS_RULE uint32_t random_bits(uint32_t key, uint32_t element) { return Draws(key, element).bits(); }

}  // namespace fusedstep
