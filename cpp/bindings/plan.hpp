// An optimizer's plan as Python holds it: its tensors, the dicts of its groups, and one step as one call.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "busy.hpp"
#include "engine.hpp"
#include "intake.hpp"
#include "roster.hpp"
#include "watch.hpp"

namespace fusedstep::bindings {

class Plan {
public:
    /// `groups` is the list of the groups' dicts, `storage` what all their steps have in common. `entry_per_group`:
    /// gradients come as a list with one entry for each.
    Plan(std::string optimizer, std::string method, py::list groups, const py::dict& storage, uint64_t seed,
         bool entry_per_group);

    const Roster& roster() const { return roster_; }

    /// Adds a group, or nothing if anything is wrong, and returns the names of its parameters. `place` is its place in
    /// the argument that it came in. `provide(name, param, companions)` gives the arrays beside a parameter. `extents`
    /// holds (offset, size of the whole) by name, for parameters that are shards. `of_copy`: parameters may be
    /// read-only, which their step refuses.
    std::vector<std::string> add(const py::object& params, const std::string& place, const py::dict& options,
                                 const py::function& provide, const py::dict& extents, bool of_copy);

    /// Takes back the groups that were added behind so many, but for their dicts in the list: also what an add() has
    /// left that ran out of memory.
    void shorten(size_t groups);

    /// Takes the options of groups from their dicts anew, of all or none. States that they call for are added, others
    /// are dropped.
    void refresh(const std::vector<size_t>& groups, const py::function& provide);

    void set_seed(uint64_t seed) {
        ++roster_.plan.version;
        roster_.plan.seed = seed;
    }

    /// One step. `owner._refresh(groups)` is called for groups whose dicts have changed. `stages` is a dict, or None
    /// for the update alone.
    void step(const py::object& owner, const py::object& grads, const py::object& stages);

    Binding bind(const py::object& owner, const py::object& grads, const py::object& stages);
    void check_bound(const Binding& bound) const;
    void step_bound(const py::object& owner, const Binding& bound);

    /// The same checks and counters for an implementation in Python: `run` is called with the work of the next step, a
    /// list of (name, group, step, lr, gradient, array to copy to), and ends it by one of the other two.
    void lend(const py::object& owner, const py::object& grads, const py::object& stages, const py::function& run);
    void advance(const std::vector<std::string>& names, double norm, double factor);
    void skip(double norm, bool raises) { engine_.skip(norm, raises); }

    /// What became of the last step: norm, factor, and whether it was skipped.
    py::tuple outcome();

    /// Whether the parameters lie on a device.
    bool on_device() const { return engine_.on_device(); }

    /// Takes over options that were changed since the last step, before all that is there is copied.
    void take_changes(const py::object& owner);

    /// Has a plan for itself, where it is copied, filled or extended: no step and no other copy begins before it is let
    /// go. What the same thread calls meanwhile may take over options and add groups.
    class Alone {
    public:
        explicit Alone(Plan& plan);

    private:
        Busy busy_;
        Pass pass_;
    };

    /// The arrays that a parameter would have beside it with other options.
    std::vector<Companion> companions_with(const std::string& name, const py::dict& options) const;
    void set_number(const std::string& name, uint64_t number) { roster_.set_number(name, number); }

    int64_t get_step(const std::string& name);
    void set_step(const std::string& name, int64_t step);

    int64_t get_calls();
    void set_calls(int64_t calls) { engine_.set_calls(calls); }
    int64_t get_skipped();
    void set_skipped(int64_t skipped) { engine_.set_skipped(skipped); }

    /// A group's learning rate at a step: of a schedule, what it says, if that is one.
    double rate(size_t group, int64_t step) const;

    /// Fills arrays on a device with θ − factor·state, or θ where there is no such state; `aheads` holds (factor,
    /// whether times the rate, array) by name.
    void displace(const py::object& owner, const std::string& state, const py::dict& aheads);

    /// Takes over learning rates that were changed, for graphs that were captured from a step.
    void put_rates(const py::object& owner);

    /// For the collector: everything that a cycle could run through.
    template <class Visit>
    void each_object(const Visit& visit) const {
        visit(groups_);
        for (const Watch& group : watches_) group.each_object(visit);
        roster_.each_object(visit);
    }
    void forget();

    /// Changes whenever bound gradients become invalid.
    int64_t version = 0;

private:
    std::optional<Busy> enter();
    void settle(const py::object& owner);
    void call_schedules();

    const std::string method_;
    py::list groups_;
    std::vector<Watch> watches_;  ///< of the groups' dicts
    Roster roster_;
    Intake intake_{roster_};
    Engine engine_{roster_, false};
    std::atomic<bool> busy_{false};
    std::atomic<std::thread::id> holder_{};  ///< who has the plan, and may do more with it
};

}  // namespace fusedstep::bindings
