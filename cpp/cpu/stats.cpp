#include "stats.hpp"

#include <algorithm>
#include <mutex>

#include "../kernel/float_mode.hpp"
#include "row.hpp"
#include "targets.hpp"

namespace fusedstep::cpu {
namespace {

constexpr int64_t worth_a_thread = 8, least_stretch = 8;

void measure(const Stats& stats, const Reading& reading, int64_t number, BlockSums& block, Counts& counts) {
    const int64_t from = number * stats_block, size = std::min(reading.size - from, stats_block);
    const auto at = [&](const void* array, Type type) {
        return static_cast<const char*>(array) + from * size_of(type);
    };
    stats.measure[int(reading.type)](at(reading.grad, reading.type), size, block.moments, counts);
    if (!reading.before) return;
    const Type type = reading.param_type;
    stats.compare[int(type)](at(reading.before, type), at(reading.after, type), size, block.change, counts);
}

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
    Row blocks;
    for (const Reading& reading : readings) blocks.add(reading.blocks());
    std::vector<Found> found(readings.size());
    std::vector<BlockSums> sums((size_t(blocks.size())));
    std::mutex counting;
    blocks.run(worth_a_thread, least_stretch, Way::up, [&](size_t tensor, int64_t from, int64_t to) {
        Counts counts;
        for (int64_t i = from; i < to; ++i)
            measure(stats, readings[tensor], i, sums[size_t(blocks.begin(tensor) + i)], counts);
        const std::lock_guard lock(counting);
        add(found[tensor].counts, counts);
    });
    for (size_t tensor = 0; tensor < found.size(); ++tensor)
        for (int64_t i = 0; i < readings[tensor].blocks(); ++i)
            found[tensor].add(sums[size_t(blocks.begin(tensor) + i)]);
    return found;
}

}  // namespace fusedstep::cpu
