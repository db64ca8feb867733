// Elements that a pass brings into the cache's first level together. Under the conditions of loops.hpp.
#pragma once

#include "../kernel/cargo.hpp"
#include "../storage/random.hpp"
#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

constexpr int tile = 512;

/// Where a tile lies, and the key of the random bits of its elements.
struct Place {
    const Cargo& cargo;
    int64_t from;    ///< in the array
    int64_t number;  ///< of the first element in the whole tensor
    int count;

    FS_RULE uint32_t key(int draw) const {
        return random_key(random_root(cargo.seed, cargo.step, cargo.tensor), uint64_t(draw), uint64_t(number) >> 32);
    }
    FS_RULE Draws draws(int draw) const { return Draws(key(draw), uint32_t(number)); }
};

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
