// What is to be done, stream by stream. Those that do not wait for each other take turns; no stream waits for all
// others, as those of torch do not.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "memory.hpp"

namespace fusedstep::ptx {

/// How often an event was put into a stream, and when its turn has come.
struct Event {
    uint64_t recorded = 0, happened = 0;
};

/// What streams have to do.
class Streams {
public:
    void put(cudaStream_t into, std::function<void()> work) { queues_[into].items.push_back({std::move(work), {}}); }
    void wait(cudaStream_t into, std::shared_ptr<Event> event) {
        const uint64_t recorded = event->recorded;
        queues_[into].items.push_back({[] {}, [=] { return event->happened >= recorded; }});
    }
    void finish() {
        for (const auto& [stream, queue] : queues_) finish(stream);
    }
    /// Until one of them is done. What others have done meanwhile is chance.
    void finish(cudaStream_t stream) {
        const Queue& one = queues_[stream];
        while (!one.items.empty()) {
            Queue* const next = choose();
            if (!next) throw Fault("a stream waits for what does not come");
            next->turn = ++turns_;
            next->items.front().work();
            next->items.pop_front();
        }
    }
    size_t waiting() const {
        size_t count = 0;
        for (const auto& [stream, queue] : queues_) count += queue.items.size();
        return count;
    }
    void drop() { queues_.clear(); }

private:
    struct Item {
        std::function<void()> work;
        std::function<bool()> ready;
    };
    struct Queue {
        std::deque<Item> items;
        uint64_t turn = 0;  ///< that it had last
    };

    /// The one whose turn is longest ago; of those that had none, the last.
    Queue* choose() {
        Queue* found = nullptr;
        for (auto& [stream, queue] : queues_) {
            if (queue.items.empty() || (queue.items.front().ready && !queue.items.front().ready())) continue;
            if (!found || queue.turn <= found->turn) found = &queue;
        }
        return found;
    }

    std::map<cudaStream_t, Queue> queues_;
    uint64_t turns_ = 0;
};

}  // namespace fusedstep::ptx
