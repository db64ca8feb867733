// Tensors behind each other in one row, of elements or of blocks, which threads take a stretch at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "shares.hpp"

namespace fusedstep::cpu {

class Row {
public:
    /// Appends a tensor that is so long.
    void add(int64_t length) { ends_.push_back(size() + length); }

    int64_t size() const { return ends_.empty() ? 0 : ends_.back(); }
    int64_t begin(size_t tensor) const { return tensor == 0 ? 0 : ends_[tensor - 1]; }

    /// Calls work(tensor, from, to) for all of the row, counted in each tensor; each thread has so many at least.
    template <class Work>
    void run(int64_t worth_a_thread, int64_t least_stretch, Way way, const Work& work) const {
        const int64_t threads = std::clamp<int64_t>(size() / worth_a_thread, 1, thread_count());
        const int64_t stretch = std::max(size() / threads / stretches, least_stretch);
        in_shares(size(), threads, stretch, way, [&](int64_t from, int64_t to) {
            auto tensor = size_t(std::upper_bound(ends_.begin(), ends_.end(), from) - ends_.begin());
            for (; from < to; ++tensor) {
                const int64_t last = std::min(to, ends_[tensor]), first = begin(tensor);
                if (from < last) work(tensor, from - first, last - first);
                from = last;
            }
        });
    }

private:
    /// Of a share, so that a thread that was held up holds up no other for long.
    static constexpr int64_t stretches = 16;

    std::vector<int64_t> ends_;
};

}  // namespace fusedstep::cpu
