// The blocks of many tensors in one row, which threads take a stretch at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "shares.hpp"

namespace fusedstep::cpu {

class Blocks {
public:
    /// Appends a tensor of so many blocks.
    void add(int64_t count) { ends_.push_back(size() + count); }

    int64_t size() const { return ends_.empty() ? 0 : ends_.back(); }
    int64_t begin(size_t tensor) const { return tensor == 0 ? 0 : ends_[tensor - 1]; }

    /// Calls work(tensor, from, to) for all blocks, numbered in their tensor; each thread has so many at least.
    template <class Work>
    void run(int64_t worth_a_thread, const Work& work) const {
        const int64_t threads = std::clamp<int64_t>(size() / worth_a_thread, 1, thread_count());
        in_shares(size(), threads, stretch, Way::up, [&](int64_t from, int64_t to) {
            auto tensor = size_t(std::upper_bound(ends_.begin(), ends_.end(), from) - ends_.begin());
            for (; from < to; ++tensor) {
                const int64_t last = std::min(to, ends_[tensor]), first = begin(tensor);
                if (from < last) work(tensor, from - first, last - first);
                from = last;
            }
        });
    }

private:
    static constexpr int64_t stretch = 8;

    std::vector<int64_t> ends_;
};

}  // namespace fusedstep::cpu
