// What is to be done, stream by stream. Those that do not wait for each other take turns, the last one first.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace fusedstep::ptx {

/// How often an event was put into a stream, and when its turn has come.
struct Event {
    uint64_t recorded = 0, happened = 0;
};

/// What streams have to do.
class Streams {
public:
    void put(cudaStream_t into, std::function<void()> work) {
        queues_[into].items.push_back({count_++, std::move(work), {}});
    }
    void wait(cudaStream_t into, std::shared_ptr<Event> event) {
        const uint64_t recorded = event->recorded;
        queues_[into].items.push_back({count_++, [] {}, [=] { return event->happened >= recorded; }});
    }
    void finish() {
        while (Queue* const next = choose()) {
            next->turns = ++turns_;
            next->items.front().work();
            next->items.pop_front();
        }
    }
    void drop() { queues_.clear(); }

private:
    struct Item {
        uint64_t number;
        std::function<void()> work;
        std::function<bool()> ready;
    };
    struct Queue {
        std::deque<Item> items;
        uint64_t turns = 0;  ///< how many others had before it had its last
    };

    /// The default stream waits for all others, and they for it.
    Queue* choose() {
        Queue& of_default = queues_[nullptr];
        const uint64_t barrier = of_default.items.empty() ? UINT64_MAX : of_default.items.front().number;
        Queue* found = nullptr;
        bool is_first = true;
        for (auto& [stream, queue] : queues_) {
            if (!stream || queue.items.empty() || queue.items.front().number > barrier) continue;
            is_first = false;
            const Item& item = queue.items.front();
            if (item.ready && !item.ready()) continue;
            const auto rank = [](const Queue& one) { return std::pair(one.turns, ~one.items.front().number); };
            if (!found || rank(queue) < rank(*found)) found = &queue;
        }
        return is_first && !of_default.items.empty() ? &of_default : found;
    }

    std::map<cudaStream_t, Queue> queues_;
    uint64_t count_ = 0, turns_ = 0;
};

}  // namespace fusedstep::ptx
