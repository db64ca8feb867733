#include "stats.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "float_mode.hpp"
#include "targets.hpp"
#include "threads.hpp"

namespace fusedstep::cpu {
namespace {

/// Blocks that a thread takes at a time, and blocks that pay for a thread.
constexpr int64_t stretch = 8, worth_a_thread = 8;

/// The blocks of one tensor.
struct Tensor {
    const Reading& reading;
    int64_t first;  ///< number of its first block among all

    int64_t count() const { return reading.blocks(); }

    void measure(const Stats& stats, int64_t number, BlockSums& block, Counts& counts) const {
        const int64_t from = number * stats_block, size = std::min(reading.size - from, stats_block);
        const auto at = [&](const void* array, Type type) {
            return static_cast<const char*>(array) + from * size_of(type);
        };
        stats.measure[int(reading.type)](at(reading.grad, reading.type), size, block.moments, counts);
        if (!reading.before) return;
        const Type type = reading.param_type;
        stats.compare[int(type)](at(reading.before, type), at(reading.after, type), size, block.change, counts);
    }
};

void add(Counts& counts, const Counts& more) {
    counts.zeros += more.zeros;
    counts.nonfinite += more.nonfinite;
    counts.same += more.same;
    for (int bin = 0; bin < bins; ++bin) counts.histogram[bin] += more.histogram[bin];
}

}  // namespace

std::vector<Found> measure(std::span<const Reading> readings) {
    const FloatMode mode;
    const Stats& stats = *active_target()->stats;
    std::vector<Tensor> tensors;
    int64_t count = 0;
    for (const Reading& reading : readings) {
        tensors.push_back({reading, count});
        count += tensors.back().count();
    }
    std::vector<Found> found(readings.size());
    std::vector<BlockSums> blocks((size_t(count)));
    std::mutex counting;
    std::atomic<int64_t> next = 0;
    const int64_t parts = std::clamp<int64_t>(count / worth_a_thread, 1, thread_count());
    together(int(parts), [&](int) {
        for (int64_t from; (from = next.fetch_add(stretch, std::memory_order_relaxed)) < count;) {
            const auto behind = std::upper_bound(tensors.begin(), tensors.end(), from,
                                                 [](int64_t number, const Tensor& one) { return number < one.first; });
            auto tensor = std::prev(behind);
            for (int64_t i = from, end = std::min(from + stretch, count); i < end; ++tensor) {
                Counts counts;
                for (const int64_t last = std::min(end, tensor->first + tensor->count()); i < last; ++i)
                    tensor->measure(stats, i - tensor->first, blocks[size_t(i)], counts);
                const std::lock_guard lock(counting);
                add(found[size_t(tensor - tensors.begin())].counts, counts);
            }
        }
    });
    for (const Tensor& tensor : tensors)
        for (int64_t i = 0; i < tensor.count(); ++i)
            found[size_t(&tensor - tensors.data())].add(blocks[size_t(tensor.first + i)]);
    return found;
}

}  // namespace fusedstep::cpu
