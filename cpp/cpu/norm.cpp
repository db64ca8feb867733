#include "norm.hpp"

#include <algorithm>
#include <atomic>

#include "targets.hpp"
#include "threads.hpp"

namespace fusedstep::cpu {
namespace {

/// Blocks that a thread takes at a time, and blocks that pay for a thread.
constexpr int64_t stretch = 8, worth_a_thread = 16;

/// The blocks of one tensor. The first is short where a shard begins within one.
struct Blocks {
    const void* data;
    Type type;
    int64_t offset, size;
    int64_t first;  ///< number of its first block among all

    int64_t count() const { return (offset % sum_block + size + sum_block - 1) / sum_block; }
    int64_t begin(int64_t number) const { return std::max<int64_t>(0, number * sum_block - offset % sum_block); }

    double sum(const Passes& passes, int64_t number) const {
        const int64_t from = begin(number), to = std::min(begin(number + 1), size);
        const char* const values = static_cast<const char*>(data) + from * size_of(type);
        return passes.squares[int(type)](values, to - from);
    }

    /// Page by page
    double add(const double* sums) const {
        const int64_t before = offset / sum_block;
        double all = 0;
        for (int64_t i = 0; i < count();) {
            const int64_t end = std::min((before + i) / sum_page * sum_page + sum_page - before, count());
            double page = 0;
            for (; i < end; ++i) page += sums[i];
            all += page;
        }
        return all;
    }
};

}  // namespace

std::vector<double> squares(std::span<const Work> work) {
    const Passes& passes = *active_target()->passes;
    std::vector<Blocks> tensors;
    int64_t count = 0;
    for (const Work& one : work) {
        tensors.push_back({one.buffers.grad, one.cargo->grad.type, one.offset, one.size, count});
        count += tensors.back().count();
    }
    std::vector<double> sums((size_t(count)));
    std::atomic<int64_t> next = 0;
    const int64_t parts = std::clamp<int64_t>(count / worth_a_thread, 1, thread_count());
    together(int(parts), [&](int) {
        for (int64_t from; (from = next.fetch_add(stretch, std::memory_order_relaxed)) < count;) {
            const auto behind = std::upper_bound(tensors.begin(), tensors.end(), from,
                                                 [](int64_t number, const Blocks& one) { return number < one.first; });
            auto tensor = std::prev(behind);
            for (int64_t i = from; i < std::min(from + stretch, count); ++i) {
                while (i - tensor->first >= tensor->count()) ++tensor;
                sums[size_t(i)] = tensor->sum(passes, i - tensor->first);
            }
        }
    });
    std::vector<double> squares;
    for (const Blocks& one : tensors) {
        squares.push_back(one.add(&sums[size_t(one.first)]));
    }
    return squares;
}

}  // namespace fusedstep::cpu
