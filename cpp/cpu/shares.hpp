// A row of elements or blocks, which threads share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "threads.hpp"

namespace fusedstep::cpu {

/// Through a share, from its beginning or from its end
enum class Way { up, down };

/// Calls run(from, to) for all of [0, size). Each thread has a share, the same for rows that are cut alike, takes it a
/// stretch at a time, and helps others when it is through with its own.
template <class Run>
void in_shares(int64_t size, int64_t threads, int64_t stretch, Way way, const Run& run) {
    struct alignas(64) Share {
        int64_t begin, end;
        std::atomic<int64_t> taken = 0;
    };
    std::vector<Share> shares = std::vector<Share>(size_t(threads));
    for (int64_t i = 0; i < threads; ++i) {
        shares[i].begin = size / threads * i;
        shares[i].end = i + 1 == threads ? size : size / threads * (i + 1);
    }
    together(int(threads), [&](int own) {
        for (int64_t i = 0; i < threads; ++i) {
            Share& share = shares[(own + i) % threads];
            const int64_t all = share.end - share.begin;
            for (int64_t at; (at = share.taken.fetch_add(stretch, std::memory_order_relaxed)) < all;) {
                const int64_t to = std::min(at + stretch, all);
                way == Way::up ? run(share.begin + at, share.begin + to) : run(share.end - to, share.end - at);
            }
        }
    });
}

}  // namespace fusedstep::cpu
