#include "reader.hpp"

#include <algorithm>

#include "launch.hpp"
#include "memory.hpp"
#include "stats.hpp"

namespace fusedstep::cuda {

std::vector<Found> measure(std::span<const Reading> readings, Stream stream) {
    int64_t most = 0;
    for (const Reading& reading : readings) most = std::max(most, reading.blocks());
    Memory blocks, counters;
    blocks.reserve(size_t(most) * sizeof(BlockSums) + 1);
    counters.reserve(Counter::all * sizeof(uint64_t));
    std::vector<Found> found(readings.size());
    for (size_t i = 0; i < readings.size(); ++i) {
        if (readings[i].size == 0) continue;
        clear(counters.data(), Counter::all * sizeof(uint64_t), stream);
        read(readings[i], static_cast<BlockSums*>(blocks.data()), static_cast<uint64_t*>(counters.data()), stream);
        std::vector<BlockSums> sums(size_t(readings[i].blocks()));
        uint64_t counted[Counter::all];
        download(sums.data(), blocks.data(), sums.size() * sizeof(BlockSums), stream);
        download(counted, counters.data(), sizeof(counted), stream);
        for (const BlockSums& block : sums) found[i].add(block);
        Counts& counts = found[i].counts;
        counts.zeros = int64_t(counted[Counter::zeros]);
        counts.nonfinite = int64_t(counted[Counter::nonfinite]);
        counts.same = int64_t(counted[Counter::same]);
        std::copy(counted, counted + bins, counts.histogram);
    }
    return found;
}

}  // namespace fusedstep::cuda
