// What threads count, put together: this program brings a target of its own, whose numbers are known beforehand and
// take no time to find, so that the threads meet where they add. It takes the place of the library's targets when the
// linker looks for `active_target`.
#include "../cpu/stats.hpp"

#include "../cpu/targets.hpp"
#include "../cpu/threads.hpp"
#include "check.hpp"

namespace {

using namespace fusedstep;

void measure(const void*, int64_t count, Moments& moments, Counts& counts) {
    moments.sum = double(count);
    counts.zeros += count;
    for (int64_t& number : counts.histogram) ++number;
}

void compare(const void*, const void*, int64_t count, Change& change, Counts& counts) {
    change.squares = double(count);
    counts.same += count;
}

const Stats stats{{measure, measure, measure, measure}, {compare, compare, compare, compare}};

Target counting() {
    Target target{};
    target.stats = &stats;
    return target;
}

}  // namespace

const fusedstep::Target* fusedstep::cpu::active_target() {
    static const Target target = counting();
    return &target;
}

namespace {

void count(int threads) {
    cpu::set_thread_count(threads);
    const char nothing = 0;
    std::vector<Reading> readings;
    for (const int64_t size : {0, 1, 4095, 4096, 4097, 50'000'003, 32768, 3}) {
        readings.push_back({&nothing, Type::float32, size});
        if (size % 2) readings.back().before = readings.back().after = &nothing;
    }
    const std::vector<Found> found = cpu::measure(readings);
    CHECK(found.size() == readings.size());
    for (size_t i = 0; i < found.size(); ++i) {
        const int64_t size = readings[i].size, blocks = (size + stats_block - 1) / stats_block;
        const int64_t compared = readings[i].before ? size : 0;
        CHECK(found[i].moments.sum == double(size));
        CHECK(found[i].counts.zeros == size);
        CHECK(found[i].change.squares == double(compared));
        CHECK(found[i].counts.same == compared);
        for (const int64_t number : found[i].counts.histogram) CHECK(number == blocks);
    }
}

}  // namespace

int main() {
    for (const int threads : {1, 2, 3, 7})
        for (int again = 0; again < 20; ++again) count(threads);
    return result();
}
