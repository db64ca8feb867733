// The loop, on a GPU: one kernel for each rule. Compiled once for each path and type.
#pragma once

#include "update.hpp"
#include "warp.cuh"

namespace fusedstep::cuda {

constexpr int threads = 256;

using Kernel = void (*)(Table);

struct Kernels {
    Kernel of_rule[Rules::size];
};

extern const Kernels bare_float, bare_double, halves, mixed, codes, full_float, full_double;

namespace {

/// As many of a kernel's blocks as there should be registers for.
constexpr int blocks_of(Path path, size_t size) {
    return size == sizeof(double) || path == Path::codes ? 2 : path == Path::bare ? 4 : 3;
}

template <class Rule, class Real, Path path>
__global__ void __launch_bounds__(threads, blocks_of(path, sizeof(Real))) update_kernel(const Table table) {
    using Team = WarpOf<lanes_of(path)>;
    constexpr int rows = threads / Team::lanes;
    const Part part{blockIdx.x, gridDim.x, int(threadIdx.x) / 32 * Team::rows, rows};
    update<Team, Rule, Real, path>(table, part, Team());
}

template <class Rule, class Real, Path path>
constexpr Kernel kernel() {
    if constexpr (is_taken<Rule>(path))
        return update_kernel<Rule, Real, path>;
    else
        return nullptr;
}

template <class Real, Path path, class... Rule>
Kernels kernels(List<Rule...>) {
    return {{kernel<Rule, Real, path>()...}};
}

}  // namespace
}  // namespace fusedstep::cuda
