// The tensors of an optimizer: their arrays, what these are called, and the memory that steps write to.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../kernel/plan.hpp"
#include "arrays.hpp"
#include "storage.hpp"
#include "structure.hpp"
#include "territory.hpp"

namespace fusedstep::bindings {

class Roster {
public:
    /// What stands beside a parameter.
    using Arrays = std::vector<std::pair<Companion, py::array>>;

    struct Entry {
        std::string name, path;
        py::array param;
        bool of_copy;  ///< it may be read-only, which its step refuses
        Layout layout;
        Extent extent;
        Arrays states;
        /// What could get other memory: the parameter, which is number 0, and the states.
        std::vector<std::pair<size_t, Movable>> movable;
        const void* last_grad = nullptr;  ///< known not to overlap anything that is written, for so many bytes
        int64_t last_bytes = 0;
    };

    /// Gives the arrays beside a parameter, one for each of the companions.
    using Provide = std::function<py::list(const Entry&, const std::vector<Companion>&)>;
    /// As provide(name, param, companions) in Python does.
    static Provide ask(const py::function& provide);

    /// `arguments`: what the user calls parameters, and gradients. `of_function`: states are arguments of their own.
    Roster(std::string optimizer, std::pair<std::string, std::string> arguments, const py::dict& storage,
           bool entry_per_group, bool of_function);

    const std::string optimizer, params, grads;
    Storage storage;
    fusedstep::Plan plan;  ///< what the kernels see; its tensors have the numbers of the entries

    const std::vector<Entry>& entries() const { return entries_; }

    // More tensors, and fewer

    /// Parameters as they come, checked, but for what stands beside them.
    std::vector<Entry> checked(const std::vector<Leaf>& leaves, std::string_view place, const py::dict& extents,
                               bool of_copy) const;

    /// Gives parameters of a group that are checked their states, or throws.
    void furnish(std::vector<Entry>& added, std::string_view place, const Group& group, const Provide& provide);

    /// Makes parameters with their states the tensors of a new group.
    void enroll(Group group, Structure structure, std::vector<Entry> added);

    /// Takes all groups but the first ones from the plan, and returns whether it had any of their tensors. Nothing is
    /// allocated: there may be no memory.
    bool cut_plan(size_t groups);
    /// Lets go of what these groups had, which may run anything.
    void cut_entries(size_t groups);

    /// Other options for a group, and the states of its tensors where these call for others: most changes are of a
    /// number, and leave every array where it is.
    struct Renewal {
        size_t group;
        Group options;
        std::vector<Arrays> states;
    };
    /// States that are there already are kept.
    Renewal renewal(size_t group, Group options, const Provide& provide) const;
    /// Exchanges them for what groups have. `keeps`: states that are given up stay as long as this, as a graph may
    /// refer to them.
    void renew(std::vector<Renewal>& all, bool keeps);

    // Arrays for one call

    /// NumPy's own arrays that differ from those of the call before in their shapes alone take their places. False
    /// where they differ in more, or something is wrong with them, which they are to be checked for then.
    bool reuse(const py::object& params, const std::vector<py::object>& states);
    /// Lets go of arrays, but not of what is known of them, for reuse().
    void vacate();
    /// Forgets all tensors and groups.
    void clear();

    // A step's arrays

    /// Calls take(tensor, leaf) for the leaves of a tree that mirrors the parameters.
    template <class Take>
    void match(const py::object& tree, std::string_view argument, Take take) const {
        const auto one = [&](size_t group, py::handle entry) {
            const Section& section = sections_[group];
            section.structure.match(entry, {optimizer, argument, place_of(group)}, params,
                                    [&](size_t leaf, py::handle array) { take(section.first + leaf, array); });
        };
        if (sections_.size() == 1 && !entry_per_group_) return one(0, tree);
        const py::tuple entries = entry_for_each(tree, argument);
        for (size_t i = 0; i < sections_.size(); ++i) one(i, entries[i]);
    }

    /// Throws if something lies in memory that steps write to.
    void keep_out(const void* data, int64_t bytes, const Where& where) const {
        territory_.keep_out(data, bytes, where, array_names());
    }
    /// The same for a tensor's gradient, of which is known what the last one was.
    void keep_out_grad(size_t tensor, const void* data, int64_t bytes) {
        Entry& entry = entries_[tensor];
        if (data == entry.last_grad && bytes <= entry.last_bytes) return;
        keep_out(data, bytes, where(grads, tensor));
        entry.last_grad = data;
        entry.last_bytes = bytes;
    }

    /// Throws if an array of a tensor has got other memory: a step on what it has left would be lost.
    void check_place(size_t tensor) const;
    void check_all_places() const {
        for (size_t i = 0; movable_ && i < entries_.size(); ++i) check_place(i);
    }
    /// The same for tensors that have a gradient. Nothing that runs Python may come behind this.
    void check_places() const {
        for (size_t i = 0; movable_ && i < entries_.size(); ++i)
            if (plan.tensors[i].buffers.grad) check_place(i);
    }
    bool has_moved() const;

    // Looking up

    size_t first_of(size_t group) const { return group < sections_.size() ? sections_[group].first : entries_.size(); }
    Where where(std::string_view argument, size_t tensor) const;
    Tensor& tensor(const std::string& name) { return plan.tensors[find(name)]; }

    /// A group's parameters as they were given.
    py::object group_structure(size_t group) const;
    /// The structure of all parameters with others in their places, from a dict by name.
    py::object structure(const py::dict& leaves) const;

    std::vector<std::string> names() const;
    py::object param(const std::string& name) const;
    py::dict arrays(const std::string& name) const;
    std::vector<Companion> companions(const std::string& name) const;
    std::vector<Companion> companions_with(const std::string& name, const Group& options) const;
    std::pair<int64_t, int64_t> extent(const std::string& name) const;
    uint64_t number(const std::string& name) const { return plan.tensors[find(name)].cargo.tensor; }
    void set_number(const std::string& name, uint64_t number) {
        ++plan.version;
        tensor(name).cargo.tensor = number;
    }

    /// For the collector
    template <class Visit>
    void each_object(const Visit& visit) const {
        for (const Entry& entry : entries_) {
            visit(entry.param);
            for (const auto& [companion, array] : entry.states) visit(array);
        }
        for (const Arrays& states : dropped_)
            for (const auto& [companion, array] : states) visit(array);
    }
    void forget();

private:
    /// Parameters that came together.
    struct Section {
        Structure structure;
        size_t first;       ///< number of its first tensor
        std::string place;  ///< where it stands in a list of groups
    };

    Extent read_extent(const std::string& name, int64_t size, const py::dict& extents) const;
    void check_storage(const Entry& entry, const Where& where) const;
    std::vector<Companion> companions_of(const Entry& entry, const Group& group) const;
    Arrays provide_arrays(const Entry& entry, const Where& of, std::vector<Companion> companions,
                          const Provide& provide) const;
    static py::list with_missing(const Entry& entry, const std::vector<Companion>& companions, const Provide& provide);
    py::array check_companion(py::handle given, const Companion& one, const Entry& entry, const Where& of) const;
    void seat(size_t tensor);
    void attach(size_t tensor);

    static void claim(std::vector<Span>& claims, const Entry& entry, size_t tensor);
    void survey();

    size_t find(const std::string& name) const;
    std::string_view place_of(size_t group) const;
    py::tuple entry_for_each(const py::object& tree, std::string_view argument) const;

    std::pair<std::string, std::string> called(std::string_view states, const Entry& entry,
                                               const std::string& state) const;
    std::string called(const Entry& entry, std::string_view place, size_t array) const;
    Names array_names() const;
    Names array_names(const std::vector<Entry>& added, std::string_view place) const;

    const bool entry_per_group_, of_function_;
    std::vector<Entry> entries_;
    std::unordered_map<std::string, size_t> places_;  ///< of the entries, by name
    std::vector<Section> sections_;
    Territory territory_;
    std::vector<Arrays> dropped_;  ///< states that a graph may still refer to
    bool movable_ = false;         ///< whether any of the arrays could get other memory
};

}  // namespace fusedstep::bindings
