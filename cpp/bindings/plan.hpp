// An optimizer's plan as Python holds it: the arrays and who owns them, the groups' dicts, and one step as one call.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "../kernel/backend.hpp"
#include "arrays.hpp"
#include "busy.hpp"
#include "storage.hpp"
#include "structure.hpp"
#include "territory.hpp"
#include "watch.hpp"

namespace fusedstep::bindings {

class Plan {
public:
    using StateArguments = std::vector<std::pair<std::string, int>>;

    /// `groups` is the list of the groups' dicts, `storage` what all their steps have in common. `entry_per_group`:
    /// gradients come as a list with one entry for each. `arguments`, of a function: its states as they are given, each
    /// with its place among those that its options call for, or -1.
    Plan(std::string optimizer, py::list groups, const py::dict& storage, uint64_t seed, bool entry_per_group,
         std::optional<StateArguments> arguments);
    ~Plan() { leave_device(); }

    /// Adds a group, or nothing if anything is wrong, and returns the names of its parameters. `place` is its place in
    /// the argument that it came in. `provide(name, param, companions)` gives the arrays beside a parameter. `extents`
    /// holds (offset, size of the whole) by name, for parameters that are shards. `of_copy`: parameters may be
    /// read-only, which their step refuses.
    std::vector<std::string> add(const py::object& params, const std::string& place, const std::string& method,
                                 const py::dict& options, const py::function& provide, const py::dict& extents,
                                 bool of_copy);

    /// Takes back the groups that were added behind so many, but for their dicts in the list: also what an add() has
    /// left that ran out of memory.
    void shorten(size_t groups);

    /// Takes the options of groups from their dicts anew, of all or none. States that they call for are added, others
    /// are dropped.
    void refresh(const std::vector<size_t>& groups, const py::function& provide);

    /// One step of a function: with arrays that the plan has for this call only, in a group that was added without any.
    /// `states` are None or in the structure of the parameters.
    void call(const py::object& param, const py::object& grad, const py::tuple& states, int64_t step, double lr,
              uint64_t seed);

    void set_seed(uint64_t seed) {
        ++plan_.version;
        plan_.seed = seed;
    }

    /// One step. `owner._refresh(groups)` is called for groups whose dicts have changed. `stages` is a dict, or None
    /// for the update alone.
    void step(const py::object& owner, const py::object& grads, const py::object& stages);

    /// A stage's number that lies on the device.
    struct Number {
        std::string_view argument;
        py::array array;
    };

    /// Gradients and stages that were checked, for steps that find new values in the same arrays.
    struct Bound {
        struct Arrays {
            const void* grad;  ///< null skips the tensor
            Type grad_type;
            void* copy;  ///< null where there is none
            Type copy_type;
        };
        int64_t version;
        uint64_t number;                 ///< among all that were bound
        std::vector<py::object> arrays;  ///< keeps the memory alive
        /// What could get other memory.
        struct Place {
            std::string_view argument;
            std::optional<size_t> tensor;  ///< nothing of a stage's number
            Movable movable;
        };
        std::vector<Place> places;
        std::vector<Arrays> tensors;
        Stages stages;
    };
    Bound bind(const py::object& owner, const py::object& grads, const py::object& stages);
    void check_bound(const Bound& bound) const;
    void step_bound(const py::object& owner, const Bound& bound);

    /// The same checks and counters for an implementation in Python: `run` is called with the work of the next step, a
    /// list of (name, group, step, lr, gradient, array to copy to), and ends it by one of the other two.
    void lend(const py::object& owner, const py::object& grads, const py::object& stages, const py::function& run);
    void advance(const std::vector<std::string>& names, double norm, double factor);
    void skip(double norm, bool raises);

    /// What became of the last step: norm, factor, and whether it was skipped.
    py::tuple outcome();

    /// Whether the parameters lie on a device.
    bool on_device() const { return stepper_ != nullptr; }

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

    /// Whether any of the arrays has got other memory, in which a step would be lost.
    bool has_moved() const;

    /// A group's parameters as they were given.
    py::object group_structure(size_t group) const;

    /// The structure of all parameters with others in their places, from a dict by name.
    py::object structure(const py::dict& leaves) const;

    std::vector<std::string> names() const;
    py::dict arrays(const std::string& name) const;
    std::vector<Companion> companions(const std::string& name) const;
    std::vector<Companion> companions_with(const std::string& name, const std::string& method,
                                           const py::dict& options) const;
    uint64_t get_number(const std::string& name) const;
    void set_number(const std::string& name, uint64_t number);
    py::object param(const std::string& name) const;
    int64_t get_step(const std::string& name);
    void set_step(const std::string& name, int64_t step);
    std::pair<int64_t, int64_t> get_extent(const std::string& name) const;

    /// For the collector: everything that a cycle could run through.
    template <class Visit>
    void each_object(const Visit& visit) const {
        visit(groups_);
        for (const Options& group : options_) group.watch.each_object(visit);
        for (const Entry& entry : entries_) {
            visit(entry.param);
            for (const auto& [companion, array] : entry.states) visit(array);
        }
        for (const Arrays& states : dropped_)
            for (const auto& [companion, array] : states) visit(array);
    }
    void forget();

    /// Changes whenever bound gradients become invalid.
    int64_t version = 0;

    /// Steps done, without those that were skipped; what schedules are called with.
    int64_t get_calls();
    void set_calls(int64_t calls);

    /// Steps that were skipped.
    int64_t get_skipped();
    void set_skipped(int64_t skipped);

    /// A group's learning rate at a step: of a schedule, what it says, if that is one.
    double rate(size_t group, int64_t step) const;

    /// Fills arrays on a device with θ − factor·state, or θ where there is no such state; `aheads` holds (factor,
    /// array) by name.
    void displace(const py::object& owner, const std::string& state, const py::dict& aheads);

    /// Takes over learning rates that were changed, for graphs that were captured from a step.
    void put_rates(const py::object& owner);

private:
    using Arrays = std::vector<std::pair<Companion, py::array>>;

    struct Entry {
        std::string name, path;
        py::array param;
        Layout layout;
        Extent extent;
        Arrays states;
        /// What could get other memory: the parameter, which is number 0, and the states.
        std::vector<std::pair<size_t, Movable>> movable;
        const void* last_grad = nullptr;  ///< known not to overlap anything that is written, for so many bytes
        py::ssize_t last_bytes = 0;
    };

    /// What a step is given for a tensor, kept alive while the interpreter is released.
    struct Held {
        py::object keeper, copy_keeper;  ///< have the memory of other libraries' arrays, and go last
        py::object grad, copy;
    };

    struct Options {
        std::string method;
        Watch watch;
        Structure structure;
        size_t first;       ///< number of its first tensor
        std::string place;  ///< where it stands in a list of groups
    };

    /// Gives the arrays beside a parameter, one for each of the companions.
    using Provide = std::function<py::list(const Entry&, const std::vector<Companion>&)>;

    std::optional<Busy> enter();
    void refuse_graph() const;
    size_t find(const std::string& name) const;
    size_t end_of(size_t group) const;
    std::string_view place_of(size_t group) const;
    Where where(std::string_view argument, size_t tensor) const;
    Extent read_extent(const std::string& name, int64_t size, const py::dict& extents) const;
    std::pair<std::string, std::string> called(std::string_view states, const Entry& entry,
                                               const std::string& state) const;
    Arrays provide_arrays(const Entry& entry, const Where& of, std::vector<Companion> companions,
                          const Provide& provide) const;
    py::array check_companion(py::handle given, const Companion& one, const Entry& entry, const Where& of) const;
    std::vector<Entry> checked(const std::vector<Leaf>& leaves, std::string_view place, const py::dict& extents,
                               bool of_copy) const;
    void furnish(std::vector<Entry>& added, std::string_view place, const Group& group, const Provide& provide);
    void enroll(std::vector<Entry> added);
    std::vector<Companion> companions_of(const Entry& entry, const Group& group) const;
    void check_storage(const Entry& entry, const Where& where) const;
    void seat(size_t tensor);
    void attach(size_t tensor);
    static void claim(std::vector<Span>& claims, const Entry& entry, size_t tensor);
    std::string called(const Entry& entry, std::string_view place, size_t array) const;
    Names array_names() const;
    Names array_names(const std::vector<Entry>& added, std::string_view place) const;
    void survey();
    std::vector<py::object> in_order(const py::tuple& states) const;
    bool take_places(const py::object& param, const std::vector<py::object>& states);
    void form(const py::object& param, const std::vector<py::object>& states);
    void vacate();
    void disband();
    void move_to(const Device& device);
    void choose_types(const std::vector<Entry>& added, const std::vector<py::list>& given);
    void settle(const py::object& owner);
    void check_places() const;
    void check_places(size_t tensor) const;
    void take(size_t tensor, py::handle grad, bool quickly);
    void take_copy(size_t tensor, py::handle array, bool quickly);
    Live take_number(const py::dict& stages, std::string_view argument);
    template <class Take>
    void match(const py::object& tree, std::string_view argument, Take take);
    void take_all(const py::object& grads, const py::object& stages, bool described);
    void take_each(const py::object& grads, const py::object& stages, bool described);
    void keep_apart(bool zero_grad);
    void let_go();
    void put_in_place(const Bound& bound);
    void call_schedules();
    void fetch(std::optional<void*> last = {});
    /// Its memory is freed, for which everything on the device is waited for.
    void leave_device();
    void* own_stream() const;
    void run_cuda(void* stream);
    void run(void* stream);
    void refuse_step(double norm, bool raises);

    static constexpr std::string_view state_ = "state", memory_ = "memory", copy_to_ = "copy_to",
                                      grad_scale_ = "grad_scale", norm_ = "norm", lookahead_ = "lookahead";

    std::string optimizer_;
    py::list groups_;
    bool entry_per_group_, of_function_;
    const StateArguments arguments_;
    const std::string params_, grads_;
    std::vector<Entry> entries_;
    std::vector<Arrays> dropped_;                     ///< states that a graph may still refer to
    std::unordered_map<std::string, size_t> places_;  ///< of the entries, by name
    std::vector<Options> options_;
    Territory territory_;
    fusedstep::Plan plan_;
    Storage storage_;
    double average_decay_ = 0;
    bool flush_denormals_ = false;
    std::vector<Held> held_;            ///< by tensor, this step's
    std::vector<Number> numbers_;       ///< and those of its stages
    std::unique_ptr<Stepper> stepper_;  ///< where the arrays are not the processor's
    Device device_;                     ///< of a function's arrays in its last call
    uint64_t bounds_ = 0;               ///< how often gradients were bound
    bool movable_ = false;              ///< whether any of the arrays could get other memory
    bool of_copy_ = false;              ///< whether parameters may be read-only
    int64_t calls_ = 0, skipped_ = 0;
    int64_t unfetched_ = 0;  ///< calls that the device may not have counted so
    Outcome outcome_;        ///< of the last step: the plan's own is written while it runs
    std::mutex stepping_;    ///< with the device: others may ask what it has counted
    std::atomic<bool> busy_{false};
    std::atomic<std::thread::id> holder_{};  ///< who has the plan, and may do more with it
};

}  // namespace fusedstep::bindings
