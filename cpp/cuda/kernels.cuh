// The loop, on a GPU: one kernel for each rule, in one type. Compiled once for each type, bare or not.
#pragma once

#include "update.hpp"
#include "warp.cuh"

namespace fusedstep::cuda {

constexpr int threads = 256;

using Kernel = void (*)(Table);

struct Kernels {
    Kernel of_rule[Rules::size];
};

extern const Kernels bare_float, bare_double, full_float, full_double;

namespace {

template <class Rule, class Real, bool bare>
__global__ void __launch_bounds__(threads) update_kernel(const Table table) {
    constexpr int warps = threads / Warp::lanes;
    const Part part{blockIdx.x, gridDim.x, int(threadIdx.x) / Warp::lanes, warps};
    update<Warp, Rule, Real, bare>(table, part, Warp());
}

template <class Real, bool bare, class... Rule>
Kernels kernels(List<Rule...>) {
    return {{update_kernel<Rule, Real, bare>...}};
}

}  // namespace
}  // namespace fusedstep::cuda
