#include "step.hpp"

#include <algorithm>
#include <vector>

#include "../kernel/float_mode.hpp"
#include "norm.hpp"
#include "row.hpp"
#include "targets.hpp"

namespace fusedstep::cpu {
namespace {

/// Tensors are cut only at multiples of this, counted in the whole tensor, so that a shard is cut like the whole.
constexpr int64_t block = 4096;

/// Elements that pay for a parallel region (about 1 us when the threads are awake, 10 us when they sleep).
constexpr int64_t worth_a_thread = 32768;

/// A ring's planes are folded while they are still in the cache.
constexpr int64_t fold_stretch = 4096;

void run_part(const Target& target, const Work& work, int64_t begin, int64_t end) {
    const int type = int(work.type);
    const Loop loop = target.loops[work.update->rule][type][work.border.coupled != 0];
    const auto sweep = [&](int64_t from, int64_t to) {
        if (work.cargo) return (*target.passes)[type](target, work, from, to);
        loop(work.update->numbers, work.border, work.buffers, from, to);
    };
    if (work.ring.planes == 0) return sweep(begin, end);
    for (int64_t from = begin; from < end; from += fold_stretch) {
        const int64_t to = std::min(from + fold_stretch, end);
        sweep(from, to);
        target.folds[type](work.ring, from, to);
    }
}

/// Where a cut through this tensor near element `at` falls.
int64_t cut(const Work& work, int64_t at) {
    if (at == work.size) return at;
    const int64_t aligned = (work.offset + at) / block * block - work.offset;
    return std::max<int64_t>(aligned, 0);
}

}  // namespace

void run(std::span<const Work> work, Way way) {
    const Target& target = *active_target();
    int64_t size = 0;
    for (const Work& one : work) size += one.size;
    if (size < 2 * worth_a_thread) {
        for (const Work& one : work) run_part(target, one, 0, one.size);
        return;
    }
    Row row;
    for (const Work& one : work) row.add(one.size);
    row.run(worth_a_thread, 2 * block, way, [&](size_t tensor, int64_t from, int64_t to) {
        const Work& one = work[tensor];
        const int64_t begin = cut(one, from), end = cut(one, to);
        if (begin < end) run_part(target, one, begin, end);
    });
}

bool step(Plan& plan) {
    const FloatMode mode;
    const std::span<const Work> work = plan.prepare();
    const bool measure = plan.stages.measure();
    if (!plan.settle(measure ? squares(work) : std::vector<double>())) return false;
    // Gradients whose squares were added up last are in the cache yet.
    run(work, measure ? Way::down : Way::up);
    plan.advance();
    return true;
}

}  // namespace fusedstep::cpu
