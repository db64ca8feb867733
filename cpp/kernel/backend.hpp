// A kind of device beside the processor, as the rest sees it. It comes in a library of its own, so that nothing of the
// device's is loaded where no array asks for it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan.hpp"
#include "stats.hpp"

namespace fusedstep {

/// What a device has counted.
struct Progress {
    Outcome last;
    int64_t calls = 0, skipped = 0;
};

/// An array for a tensor as its momentum displaces it: θ − factor·state, or θ where it has none.
struct Ahead {
    void* array;
    double factor;
    bool rated;  ///< times the group's learning rate
    int state;   ///< the momentum's place among the states; −1 where there is none
};

/// Runs the steps of one plan.
class Stepper {
public:
    virtual ~Stepper() = default;

    /// What is known of a step when step() returns: that it is skipped, that it has happened, as there was nothing to
    /// do, or that the device will know.
    enum Verdict { skipped, happened, underway };
    struct Result {
        Verdict verdict;
        bool captured;  ///< it is part of a graph, and the plan's counters have not moved
    };

    /// Puts a step into the stream and returns without waiting for it. The plan's counters move as if no step were
    /// skipped until they are fetched.
    virtual Result step(Plan& plan, void* stream) = 0;

    /// Waits, and brings counters and the last outcome into the plan. Returns how many steps have happened and how many
    /// were skipped since the last time, by the device's own count. `last`: the stream of the last step, if it is
    /// known; as long as no step was captured, nothing else is waited for then.
    virtual Progress fetch(Plan& plan, std::optional<void*> last = {}) = 0;

    /// The plan's counters hold from now on.
    virtual void set_counters(const Plan& plan) = 0;

    /// Whether the device may have counted otherwise than the plan: a step may have been skipped, or a graph launched.
    virtual bool uncertain() const = 0;

    /// Whether a graph may refer to arrays that the plan's tensors had.
    virtual bool captured() const = 0;

    /// Brings the groups' learning rates to the device, where graphs that were captured find them.
    virtual void put_rates(const Plan& plan, void* stream) = 0;

    /// Fills an array for each of the plan's tensors, without waiting.
    virtual void displace(const Plan& plan, std::span<const Ahead> aheads, void* stream) = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual int device_count(std::string& why_not) = 0;

    /// `wanders`: its steps are in several streams, and wait for each other.
    virtual std::unique_ptr<Stepper> stepper(int device, bool wanders) = 0;

    /// Whether what is put into the stream goes into a graph, and happens when that is launched. Whatever waits for the
    /// device would be the end of that graph.
    virtual bool capturing(int device, void* stream) = 0;

    /// What arrays are like; waits.
    virtual std::vector<Found> measure(int device, std::span<const Reading> readings, void* stream) = 0;

    virtual void* allocate(int device, size_t bytes) = 0;  ///< zeros
    virtual void release(void* memory) noexcept = 0;

    /// These wait: for everything on the device, and until they are done.
    virtual void upload(int device, void* to, const void* from, size_t bytes) = 0;
    virtual void download(int device, void* to, const void* from, size_t bytes) = 0;

    /// The device that an address belongs to, if it is one's.
    virtual std::optional<int> device_of(const void* memory) = 0;

    /// Calls work() while a device is the current one.
    virtual void on(int device, const std::function<void()>& work) = 0;
};

}  // namespace fusedstep
