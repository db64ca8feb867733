// Marks an optimizer as in use: two steps at a time would race for its counters and its state.
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>

namespace fusedstep::bindings {

class Busy {
public:
    Busy(std::atomic<bool>& flag, const std::string& optimizer) : flag_(flag) {
        if (flag_.exchange(true))
            throw std::runtime_error(optimizer +
                                     ": a step must be over before the next begins, got a second call during one");
    }
    ~Busy() { flag_.store(false); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    std::atomic<bool>& flag_;
};

}  // namespace fusedstep::bindings
