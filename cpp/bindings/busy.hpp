// Marks an optimizer as in use: two calls at a time would race for its counters and its state.
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

namespace fusedstep::bindings {

class Busy {
public:
    Busy(std::atomic<bool>& flag, const std::string& optimizer) : flag_(flag) {
        if (flag_.exchange(true))
            throw std::runtime_error(optimizer +
                                     ": a step or a copy must be over before the next begins, got a second call "
                                     "during one");
    }
    ~Busy() { flag_.store(false); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    std::atomic<bool>& flag_;
};

/// For the thread that has an optimizer: what it calls in a scope may ask whether it is the one.
class Pass {
public:
    explicit Pass(std::atomic<std::thread::id>& holder)
        : holder_(holder), before_(holder.exchange(std::this_thread::get_id())) {}
    ~Pass() { holder_.store(before_); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

private:
    std::atomic<std::thread::id>& holder_;
    const std::thread::id before_;
};

}  // namespace fusedstep::bindings
