// An optimizer's plan as Python holds it: the arrays and who owns them, the groups' dicts, and one step as one call.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "arrays.hpp"
#include "kernel/plan.hpp"
#include "structure.hpp"

namespace fusedstep::bindings {

class Plan {
public:
    /// `entry_per_group`: gradients come as a list with one entry for each group.
    Plan(std::string optimizer, bool entry_per_group);

    /// Adds a group, or nothing if anything is wrong. `provide(name, param, state)` gives the array of each state.
    /// `extents` holds (offset, size of the whole) by name, for parameters that are shards.
    void add(const py::object& params, const std::string& method, const py::dict& options, const py::function& provide,
             const py::dict& extents);

    /// Takes the options of a group from its dict anew. States that they call for are added, others are dropped.
    void refresh(size_t group, const py::function& provide);

    /// One step. `owner.refresh(group)` is called for a group whose dict has changed.
    void step(const py::object& owner, const py::object& grads);

    /// Checks gradients once, for steps that find them in the same arrays.
    struct Grads {
        int64_t version;
        std::vector<py::object> arrays;  ///< keeps the memory alive
        std::vector<const void*> data;   ///< by tensor; null skips it
    };
    Grads bind(const py::object& owner, const py::object& grads);
    void step_bound(const py::object& owner, const Grads& grads);

    /// The same checks and counters for an implementation in Python: the work of the next step as a list of
    /// (name, group, step, lr, gradient), and the step's end.
    py::list prepare(const py::object& owner, const py::object& grads);
    void advance();

    /// A group's parameters as they were given.
    py::object group_structure(size_t group) const;

    /// The structure of all parameters with others in their places, from a dict by name.
    py::object structure(const py::dict& leaves) const;
    std::vector<std::string> names() const;
    py::dict arrays(const std::string& name) const;
    py::array param(const std::string& name) const;

    int64_t get_step(const std::string& name) const;
    void set_step(const std::string& name, int64_t step);
    std::pair<int64_t, int64_t> get_extent(const std::string& name) const;

    /// For the collector: everything that a cycle could run through.
    template <class Visit>
    void each_object(const Visit& visit) const {
        for (const Options& group : options_) {
            visit(group.dict);
            visit(group.schedule);
            for (const auto& [key, value] : group.seen) {
                visit(key);
                visit(value);
            }
        }
    }
    void forget();

    /// Changes whenever bound gradients become invalid.
    int64_t version = 0;

    /// Steps done; what schedules are called with.
    int64_t calls = 0;

private:
    struct Entry {
        std::string name, path;
        py::array param;
        Layout layout;
        Extent extent;
        std::vector<std::pair<std::string, py::array>> states;
        const void* last_grad = nullptr;  ///< known not to overlap anything that is written
    };

    struct Options {
        std::string method;
        py::dict dict;
        std::vector<std::pair<py::object, py::object>> seen;  ///< the dict's items when it was last read
        py::object schedule;
        Structure structure;
        size_t first;  ///< number of its first tensor
    };

    class Busy;
    struct Flag;

    std::vector<std::pair<std::string, py::array>> provide_states(const Entry& entry, const States& states,
                                                                  const py::function& provide,
                                                                  std::vector<Span>& claims) const;
    Extent read_extent(const std::string& name, int64_t size, const py::dict& extents) const;
    static std::string state_path(const Entry& entry, const std::string& state);
    void attach(size_t tensor);
    void survey();
    void settle(const py::object& owner);
    void see(Options& options);
    bool unchanged(const Options& options) const;
    void take(size_t tensor, py::handle grad);
    void match(const py::object& grads);
    void call_schedules();
    void release();
    void run();
    size_t find(const std::string& name) const;

    std::string optimizer_;
    bool entry_per_group_;
    std::vector<Entry> entries_;
    std::unordered_map<std::string, size_t> places_;  ///< of the entries, by name
    std::vector<Options> options_;
    Territory territory_;
    fusedstep::Plan plan_;
    std::vector<py::object> held_;  ///< this step's gradients, kept alive while the interpreter is released
    std::atomic<bool> busy_{false};
    bool settling_ = false;  ///< the step itself is taking over a changed dict
};

}  // namespace fusedstep::bindings
