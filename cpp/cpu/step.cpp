#include "step.hpp"

#include <algorithm>

#include "float_mode.hpp"
#include "targets.hpp"
#include "threads.hpp"

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
    if (work.ring.planes == 0) return loop(work.update->numbers, work.border, work.buffers, begin, end);
    for (int64_t from = begin; from < end; from += fold_stretch) {
        const int64_t to = std::min(from + fold_stretch, end);
        loop(work.update->numbers, work.border, work.buffers, from, to);
        target.folds[type](work.ring, from, to);
    }
}

/// Where a cut through this tensor near element `at` falls.
int64_t cut(const Work& work, int64_t at) {
    if (at <= 0) return 0;
    const int64_t aligned = (work.offset + at) / block * block - work.offset;
    return std::clamp<int64_t>(aligned, 0, work.size);
}

}  // namespace

void run(std::span<const Work> work) {
    const Target& target = *active_target();
    int64_t total = 0;
    for (const Work& one : work) total += one.size;
    const int64_t parts = std::clamp<int64_t>(total / worth_a_thread, 1, thread_count());
    if (parts == 1) {
        const FloatMode mode;
        for (const Work& one : work) run_part(target, one, 0, one.size);
        return;
    }
    parallel(int(parts), [&](int part) {
        const FloatMode mode;
        const int64_t begin = total / parts * part, end = part + 1 == parts ? total : total / parts * (part + 1);
        int64_t first = 0;
        for (const Work& one : work) {
            if (first >= end) break;
            const int64_t last = first + one.size;
            if (last > begin) {
                const int64_t from = cut(one, begin - first), to = end >= last ? one.size : cut(one, end - first);
                if (from < to) run_part(target, one, from, to);
            }
            first = last;
        }
    });
}

void step(Plan& plan) {
    const FloatMode mode;
    run(plan.prepare());
    plan.advance();
}

}  // namespace fusedstep::cpu
