// Runs the steps of an optimizer where its arrays are, and knows what has become of them. A device counts by itself:
// what it may have counted otherwise than the plan is brought when somebody asks.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "../kernel/backend.hpp"
#include "roster.hpp"

namespace fusedstep::bindings {

class Engine {
public:
    /// `wanders`: as Backend::stepper has it.
    Engine(Roster& roster, bool wanders) : roster_(roster), wanders_(wanders) {}
    ~Engine() { leave_device(); }

    bool on_device() const { return stepper_ != nullptr; }

    /// Tensors have come: where they are on a device, it runs their steps and counts from now on.
    void start();
    /// The plan's counters were changed: the device's are these from now on.
    void recount();
    /// Its memory is freed, for which everything on the device is waited for.
    void leave_device();

    /// Keeps threads away that ask what the device has counted. Nothing that runs Python may happen meanwhile.
    std::unique_lock<std::mutex> hold() { return std::unique_lock(counting_); }

    /// The stream of a step on a device. To ask for it runs Python.
    void* stream() const;
    /// Whether the next step goes into a graph.
    bool is_capturing() const;
    /// Throws where the device must not be waited for.
    void refuse_graph() const;
    /// Whether a graph may refer to arrays that tensors have or had.
    bool has_captured() const { return stepper_ && stepper_->captured(); }

    void run(void* stream);
    void put_rates(void* stream);
    void displace(std::span<const Ahead> aheads, void* stream);

    /// Brings what a device has counted. `last`: the stream of the last step, if it is known.
    void fetch(std::optional<void*> last = {});
    /// The same, where that may be another count than the plan's. `in_stream`: the last step was in the next one's.
    void catch_up(bool in_stream = false);

    /// Steps done, without those that were skipped; what schedules are called with. As known here: first catch up.
    int64_t calls() const { return calls_; }
    void set_calls(int64_t calls);
    int64_t skipped() const { return skipped_; }
    void set_skipped(int64_t skipped);
    /// What became of the last step, likewise.
    const Outcome& last() const { return outcome_; }

    /// A step that others have done, or skipped.
    void advance(double norm, double factor);
    void skip(double norm, bool raises);

private:
    void run_on_device(void* stream);
    void refuse_step(double norm, bool raises);

    Roster& roster_;
    const bool wanders_;
    std::unique_ptr<Stepper> stepper_;  ///< where the arrays are not the processor's
    int64_t calls_ = 0, skipped_ = 0;
    int64_t unfetched_ = 0;  ///< calls that the device may not have counted so
    Outcome outcome_;        ///< of the last step: the plan's own is written while it runs
    std::mutex counting_;
};

}  // namespace fusedstep::bindings
