// How a step is cut among threads, for tensors of any size: this program brings a target of its own, whose loops write
// down where they were sent and touch no memory. It takes the place of the library's targets when the linker looks for
// `active_target`. Counting in anything shorter than 64 bits shows here, without 8 GiB of elements.
#include <algorithm>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "../cpu/step.hpp"
#include "../cpu/targets.hpp"
#include "../cpu/threads.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

struct Stretch {
    int64_t begin, end;
    std::thread::id thread;

    int64_t size() const { return end - begin; }
};

std::mutex guard;
std::map<const void*, std::vector<Stretch>> swept, folded;  ///< by tensor

void note(std::map<const void*, std::vector<Stretch>>& where, const void* tensor, int64_t begin, int64_t end) {
    const std::scoped_lock lock(guard);
    where[tensor].push_back({begin, end, std::this_thread::get_id()});
}

void sweep(const double*, const Border&, const Buffers& buffers, int64_t begin, int64_t end) {
    note(swept, buffers.param, begin, end);
}

void fold(const Ring& ring, int64_t begin, int64_t end) { note(folded, ring.data, begin, end); }

Target recording() {
    Target target{"recording", {}, {fold, fold}, nullptr, nullptr, nullptr, nullptr};
    for (auto& rule : target.loops)
        for (auto& type : rule)
            for (Loop& loop : type) loop = sweep;
    return target;
}

}  // namespace

const fusedstep::Target* fusedstep::cpu::active_target() {
    static const Target target = recording();
    return &target;
}

namespace {

constexpr int64_t block = 4096;

constexpr int64_t sizes[] = {
    1,
    100,
    4095,
    4096,
    4097,
    32'768,
    65'536,
    70'001,
    1'000'003,
    (1LL << 31) - 1,
    (1LL << 31) + 5,
    (1LL << 33) + 77,
    (1LL << 40) + 4095,
};

/// Every element once, in stretches that meet only where a block of the whole tensor begins.
void check_cover(std::vector<Stretch> stretches, int64_t offset, int64_t size) {
    std::sort(stretches.begin(), stretches.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    int64_t at = 0;
    for (const Stretch& stretch : stretches) {
        CHECK(stretch.begin == at && stretch.end > stretch.begin);
        CHECK(at == 0 || (offset + at) % block == 0);
        at = stretch.end;
    }
    CHECK(at == size);
}

/// Nobody waits long for a thread that was held up: what is taken at once is a small part of its share.
void check_stretches(int64_t total, int threads) {
    const int64_t parts = std::clamp<int64_t>(total / 32'768, 1, threads);
    const int64_t most = total < 65'536 ? total : std::max(total / parts / 16, 2 * block) + block;
    for (const auto& [tensor, stretches] : swept)
        for (const Stretch& stretch : stretches) CHECK(stretch.size() <= most);
}

void one_list(Random& random) {
    const Update update;
    const int threads = 1 + int(random.below(7));
    cpu::set_thread_count(threads);
    std::vector<Work> work;
    int64_t total = 0;
    for (int64_t i = random.below(6); i >= 0; --i) {
        const int64_t size = sizes[random.below(std::size(sizes))];
        const int64_t offset = random.bits() & 1 ? 0 : random.below(1LL << 41);
        void* const name = reinterpret_cast<void*>(i + 1);
        work.push_back({&update, {}, Type::float32, size, offset, {name, nullptr, {}}, {}});
        total += size;
    }
    swept.clear();
    cpu::run(work, random.bits() & 1 ? cpu::Way::up : cpu::Way::down);
    for (const Work& one : work) check_cover(swept[one.buffers.param], one.offset, one.size);
    check_stretches(total, threads);
}

/// A thread goes through its share in order, from the one end or from the other.
void ways() {
    const Update update;
    cpu::set_thread_count(1);
    void* const name = reinterpret_cast<void*>(1);
    const Work work{&update, {}, Type::float32, 1'000'003, 0, {name, nullptr, {}}, {}};
    const auto earlier = [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; };
    for (const cpu::Way way : {cpu::Way::up, cpu::Way::down}) {
        swept.clear();
        cpu::run({&work, 1}, way);
        std::vector<Stretch>& stretches = swept[name];
        CHECK(stretches.size() > 10);
        if (way == cpu::Way::down) std::reverse(stretches.begin(), stretches.end());
        CHECK(std::is_sorted(stretches.begin(), stretches.end(), earlier));
    }
}

/// Where a round of a window closes, each stretch is folded behind its sweep, while it is in the cache.
void rings(int threads) {
    const Update update;
    constexpr int64_t size = 300'007;
    cpu::set_thread_count(threads);
    void* const name = reinterpret_cast<void*>(1);
    const Work work{&update, {}, Type::float64, size, 1000, {name, nullptr, {}}, {name, size, 3}};
    swept.clear();
    folded.clear();
    cpu::run({&work, 1});
    const auto &loops = swept[name], &folds = folded[name];
    CHECK(loops.size() == folds.size() && loops.size() > size / block);
    int64_t elements = 0;
    for (const Stretch& one : folds) {
        CHECK(one.size() <= block);
        CHECK(std::count_if(loops.begin(), loops.end(), [&](const Stretch& other) {
                  return other.begin == one.begin && other.end == one.end && other.thread == one.thread;
              }) == 1);
        elements += one.size();
    }
    CHECK(elements == size);
}

}  // namespace

int main() {
    Random random(11);
    for (int list = 0; list < 2000; ++list) one_list(random);
    ways();
    for (const int threads : {1, 2, 5}) rings(threads);
    return result();
}
