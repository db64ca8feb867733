#include "plan.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "../storage/code8.hpp"
#include "cuda.hpp"
#include "options.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

/// What Python may see of an array: NumPy's description of memory that it can read, or what the user gave.
py::object visible(const py::array& array) {
    return device_of(array).kind == Device::cpu ? py::object(array) : as_given(array);
}

/// Leaves so many, at most.
template <class Item>
void cut(std::vector<Item>& all, size_t count) {
    while (all.size() > count) {
        const Item last = std::move(all.back());  // whose end may run anything
        all.pop_back();
    }
}

}  // namespace

Plan::Plan(std::string optimizer, py::list groups, const py::dict& storage, uint64_t seed, bool entry_per_group,
           std::optional<StateArguments> arguments)
    : optimizer_(std::move(optimizer)),
      groups_(std::move(groups)),
      entry_per_group_(entry_per_group),
      of_function_(arguments.has_value()),
      arguments_(arguments.value_or(StateArguments())),
      params_(of_function_ ? "param" : "params"),
      grads_(of_function_ ? "grad" : "grads") {
    for (const auto& [name, type] : py::dict(storage["state"]))
        storage_.state[name.cast<std::string>()] = type.cast<std::string>();
    const auto rounding = storage["rounding"].cast<std::string>();
    storage_.rounding = rounding == "stochastic"  ? Rounding::stochastic
                        : rounding == "kahan"     ? Rounding::kahan
                        : rounding == "remainder" ? Rounding::remainder
                                                  : Rounding::nearest;
    const py::object average = storage["weight_average"];
    storage_.average = !average.is_none();
    if (storage_.average) average_decay_ = average.cast<double>();
    flush_denormals_ = storage["flush_denormals"].cast<bool>();
    plan_.seed = seed;
}

/// Parameters as they come, checked, but for what stands beside them.
std::vector<Plan::Entry> Plan::checked(const std::vector<Leaf>& leaves, std::string_view place, const py::dict& extents,
                                       bool of_copy) const {
    std::vector<Entry> added;
    std::vector<Span> claims;
    std::unordered_set<std::string> names;
    for (const Leaf& leaf : leaves) {
        const Where where{optimizer_, params_, place, leaf.path};
        if (places_.contains(leaf.name) || !names.insert(leaf.name).second)
            throw py::value_error(where.text() + " must have a name of its own, got '" + leaf.name + "' a second time");
        py::array array = check_param(leaf.value, where, !of_copy);
        const Extent extent = read_extent(leaf.name, array.size(), extents);
        claims.emplace_back(array.data(), array.nbytes(), entries_.size() + added.size(), 0);
        added.push_back({leaf.name, leaf.path, array, Layout(array), extent, {}});
        const Entry& first = entries_.empty() ? added.front() : entries_.front();
        const std::string_view its_place = entries_.empty() ? place : place_of(0);
        check_device(array, first.layout.device, where, {optimizer_, params_, its_place, first.path});
        check_storage(added.back(), where);
    }
    // Parameters that overlap are refused before any state is made for them.
    territory_.check(std::move(claims), optimizer_, array_names(added, place));
    return added;
}

/// Gives parameters of a group that are checked their states, or throws.
void Plan::furnish(std::vector<Entry>& added, std::string_view place, const Group& group, const Provide& provide) {
    std::vector<Span> claims;
    for (Entry& entry : added) {
        entry.states =
            provide_arrays(entry, {optimizer_, params_, place, entry.path}, companions_of(entry, group), provide);
        claim(claims, entry, entries_.size() + size_t(&entry - added.data()));
    }
    territory_.claim(std::move(claims), optimizer_, array_names(added, place));
}

/// Makes parameters with their states tensors of the last group.
void Plan::enroll(std::vector<Entry> added) {
    for (Entry& entry : added) {
        places_.emplace(entry.name, entries_.size());
        Tensor tensor;
        tensor.group = int(plan_.groups.size()) - 1;
        tensor.calculate_in(arithmetic(entry.layout.type));
        tensor.cargo.tensor = entries_.size();
        plan_.tensors.push_back(tensor);
        entries_.push_back(std::move(entry));
        seat(entries_.size() - 1);
    }
    for (Entry& entry : entries_) entry.last_grad = nullptr;
    if (!stepper_ && !entries_.empty() && entries_.front().layout.device.kind == Device::cuda)
        stepper_ = cuda_backend().stepper(entries_.front().layout.device.index, of_function_);
    if (stepper_) stepper_->set_counters(plan_);
    ++version;
}

std::vector<std::string> Plan::add(const py::object& params, const std::string& place, const std::string& method,
                                   const py::dict& options, const py::function& provide, const py::dict& extents,
                                   bool of_copy) {
    const std::optional<Busy> busy = enter();
    fetch();
    std::vector<Leaf> leaves;
    Structure structure = Structure::of(params, entries_.size(), {optimizer_, params_, place}, leaves);
    Group group = read_group(method, options);
    std::vector<Entry> added = checked(leaves, place, extents, of_copy);
    std::vector<std::string> names;
    for (const Entry& entry : added) names.push_back(entry.name);
    furnish(added, place, group, [&](const Entry& entry, const std::vector<Companion>& companions) {
        return py::list(call_python(provide, py::make_tuple(entry.name, visible(entry.param), companions)));
    });
    const std::lock_guard lock(stepping_);
    const std::string own_place = "[" + std::to_string(options_.size()) + "]";
    options_.push_back({method, Watch(options), std::move(structure), entries_.size(), own_place});
    plan_.groups.push_back(std::move(group));
    enroll(std::move(added));
    groups_.append(options);
    of_copy_ |= of_copy;
    return names;
}

/// Nothing is allocated here: there may be no memory.
void Plan::shorten(size_t groups) {
    const size_t first = groups < options_.size() ? options_[groups].first : entries_.size();
    {
        const std::lock_guard lock(stepping_);
        const bool fewer = first < plan_.tensors.size();  // others may not have been fetched
        cut(plan_.tensors, first);
        cut(plan_.groups, groups);
        ++plan_.version;
        if (stepper_ && first && fewer) stepper_->set_counters(plan_);
    }
    if (!first) leave_device();
    territory_.leave(first);
    std::erase_if(places_, [&](const auto& place) { return place.second >= first; });
    cut(entries_, first);
    cut(options_, groups);
}

Extent Plan::read_extent(const std::string& name, int64_t size, const py::dict& extents) const {
    const py::str key(name);
    if (!extents.contains(key)) return {0, size};
    const py::object given = extents[key];
    if (PyTuple_Check(given.ptr()) && PyTuple_GET_SIZE(given.ptr()) == 2) {
        PyObject* const offset = PyTuple_GET_ITEM(given.ptr(), 0);
        PyObject* const whole = PyTuple_GET_ITEM(given.ptr(), 1);
        if (PyLong_CheckExact(offset) && PyLong_CheckExact(whole)) {
            const Extent extent{PyLong_AsLongLong(offset), PyLong_AsLongLong(whole)};
            const bool too_large = PyErr_Occurred();
            PyErr_Clear();
            if (!too_large && extent.offset >= 0 && size <= extent.whole && extent.offset <= extent.whole - size)
                return extent;
        }
    }
    throw py::value_error(optimizer_ + ": extents['" + name +
                          "'] must be (offset, size of the whole), which holds the " + std::to_string(size) +
                          " elements of the parameter, got " + py::repr(given).cast<std::string>());
}

/// What only some parameters can have.
void Plan::check_storage(const Entry& entry, const Where& where) const {
    const Type type = entry.layout.type;
    if (storage_.rounding == Rounding::remainder && type == Type::float16)
        throw py::type_error(where.text() + " must be bfloat16 with rounding='remainder', got float16");
    for (const auto& [name, chosen] : storage_.state)
        if (chosen == "sq8" && entry.extent.whole >= Storage::worth_a_code && entry.extent.offset % Code8::block)
            throw py::value_error(optimizer_ + ": extents['" + entry.name + "'] must begin at a multiple of " +
                                  std::to_string(Code8::block) + " for sq8, got " +
                                  std::to_string(entry.extent.offset));
}

std::vector<Companion> Plan::companions_of(const Entry& entry, const Group& group) const {
    return storage_.companions(group.states(), entry.layout, entry.extent);
}

Plan::Arrays Plan::provide_arrays(const Entry& entry, const Where& of, std::vector<Companion> companions,
                                  const Provide& provide) const {
    Arrays made;
    const py::list given = provide(entry, companions);
    for (size_t i = 0; i < companions.size(); ++i) {
        py::array array = check_companion(given[i], companions[i], entry, of);
        made.emplace_back(std::move(companions[i]), std::move(array));
    }
    return made;
}

py::array Plan::check_companion(py::handle given, const Companion& one, const Entry& entry, const Where& of) const {
    const auto [argument, path] = called(memory_, entry, one.name);
    const Where where{optimizer_, argument, {}, path};
    const auto checked = [&]() -> py::array {
        switch (one.kind) {
            case Companion::scalar: return check_scalar(given, where);
            case Companion::ring: return check_ring(given, entry.layout, one.planes, one.dtype, where, of);
            case Companion::scales: return check_scales(given, one.planes, where);
            default: return check_state(given, entry.layout, one.dtype, where, of);
        }
    };
    py::array array = checked();
    check_device(array, entry.layout.device, where, of);
    return array;
}

/// Gives the kernel a parameter's address. Nothing is refused any more, not even what has become read-only since it was
/// checked: the tensors behind this one would have no places.
void Plan::seat(size_t tensor) {
    Tensor& target = plan_.tensors[tensor];
    Entry& entry = entries_[tensor];
    target.size = entry.layout.size;
    target.extent = entry.extent;
    target.buffers.param = const_cast<void*>(entry.param.data());
    attach(tensor);
}

/// Gives it the addresses of what stands beside that.
void Plan::attach(size_t tensor) {
    ++plan_.version;
    Tensor& target = plan_.tensors[tensor];
    Entry& entry = entries_[tensor];
    // All else of the cargo stays: a step that takes over changed options has its gradient and its copy already.
    for (Format& state : target.cargo.state) state = {target.type};
    target.cargo.param = storage_.format_of_param(entry.layout);
    target.cargo.average_decay = average_decay_;
    std::fill(std::begin(target.buffers.state), std::end(target.buffers.state), nullptr);
    target.ring = {};
    target.carry = nullptr;
    entry.movable.clear();
    if (auto movable = Movable::of(entry.param)) entry.movable.emplace_back(0, std::move(*movable));
    int place = 0;
    for (size_t i = 0; i < entry.states.size(); ++i) {
        auto& [one, array] = entry.states[i];
        if (auto movable = Movable::of(array)) entry.movable.emplace_back(i + 1, std::move(*movable));
        void* const data = const_cast<void*>(array.data());
        if (one.role == Companion::average)
            target.cargo.average = data;
        else if (one.role == Companion::rest)
            target.cargo.param.rest = data;
        else if (one.role == Companion::scale_of_state)
            target.cargo.state[place - 1].rest = data;
        else if (one.kind == Companion::ring)
            target.ring = {data, target.size, one.planes};
        else if (one.kind == Companion::scalar)
            target.carry = static_cast<double*>(data);
        else {
            target.cargo.state[place] = one.format;
            target.buffers.state[place++] = data;
        }
    }
    movable_ |= !entry.movable.empty();
}

void Plan::refresh(const std::vector<size_t>& groups, const py::function& provide) {
    const std::optional<Busy> busy = enter();
    std::vector<Watch> watches;
    std::vector<Group> fresh;
    std::vector<Arrays> states;
    /// Whether a group has other states now. Most changes are of a number, and leave every array where it is.
    std::vector<bool> others;
    for (const size_t index : groups) {
        const py::dict options = groups_[index];
        watches.emplace_back(options);  // and not later: what changes meanwhile is another change
        fresh.push_back(read_group(options_.at(index).method, options));
        others.push_back(fresh.back().states() != plan_.groups[index].states());
        if (!others.back()) continue;
        for (size_t i = options_[index].first; i < end_of(index); ++i) {
            const Entry& entry = entries_[i];
            const auto keep = [&](const Entry&, const std::vector<Companion>& companions) {
                std::map<std::string, py::object> arrays;
                std::vector<Companion> missing;
                for (const Companion& one : companions) {
                    for (const auto& [known, owned] : entry.states)
                        if (known.name == one.name && (one.kind != Companion::ring || owned.shape(0) == one.planes))
                            arrays[one.name] = owned;
                    if (!arrays.contains(one.name)) missing.push_back(one);
                }
                if (!missing.empty()) {
                    const py::list made =
                        call_python(provide, py::make_tuple(entry.name, visible(entry.param), missing));
                    for (size_t j = 0; j < missing.size(); ++j) arrays[missing[j].name] = made[j];
                }
                py::list all;
                for (const Companion& one : companions) all.append(arrays[one.name]);
                return all;
            };
            states.push_back(provide_arrays(entry, where(params_, i), companions_of(entry, fresh.back()), keep));
        }
    }
    const bool keeps = stepper_ && stepper_->captured();
    if (keeps) dropped_.reserve(dropped_.size() + states.size());
    auto next = states.begin();
    for (size_t i = 0; i < groups.size(); ++i) {
        plan_.groups[groups[i]] = std::move(fresh[i]);
        std::swap(options_[groups[i]].watch, watches[i]);
        if (!others[i]) continue;
        for (size_t tensor = options_[groups[i]].first; tensor < end_of(groups[i]); ++tensor) {
            std::swap(entries_[tensor].states, *next);
            if (keeps) dropped_.push_back(std::move(*next));
            ++next;
            attach(tensor);
        }
    }
    ++plan_.version;
    if (!states.empty()) survey();
}

void Plan::forget() {
    entries_.clear();
    dropped_.clear();
    places_.clear();
    options_.clear();
    groups_ = py::list();
    held_.clear();
    numbers_.clear();
    territory_ = {};
    leave_device();
    plan_ = {};
    ++version;
}

size_t Plan::find(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) throw py::key_error(name);
    return found->second;
}

size_t Plan::end_of(size_t group) const {
    return group + 1 < options_.size() ? options_[group + 1].first : entries_.size();
}

std::string_view Plan::place_of(size_t group) const {
    return options_.size() == 1 && !entry_per_group_ ? std::string_view() : options_[group].place;
}

Where Plan::where(std::string_view argument, size_t tensor) const {
    return {optimizer_, argument, place_of(size_t(plan_.tensors[tensor].group)), entries_[tensor].path};
}

py::object Plan::group_structure(size_t index) const {
    const Options& group = options_.at(index);
    return group.structure.fill([&](size_t leaf) { return as_given(entries_[group.first + leaf].param); });
}

py::object Plan::structure(const py::dict& leaves) const {
    const std::vector<Options> groups = options_;  // what the collector runs meanwhile may add one
    py::list all;
    for (const Options& group : groups)
        all.append(group.structure.fill(
            [&](size_t leaf) { return py::object(leaves[py::str(entries_[group.first + leaf].name)]); }));
    return entry_per_group_ || groups.size() != 1 ? py::object(all) : py::object(all[0]);
}

std::vector<std::string> Plan::names() const {
    std::vector<std::string> names;
    for (const Entry& entry : entries_) names.push_back(entry.name);
    return names;
}

py::dict Plan::arrays(const std::string& name) const {
    py::dict made;
    for (const auto& [one, array] : entries_[find(name)].states) made[py::str(one.name)] = visible(array);
    return made;
}

py::object Plan::param(const std::string& name) const { return visible(entries_[find(name)].param); }

std::vector<Companion> Plan::companions(const std::string& name) const {
    std::vector<Companion> all;
    for (const auto& [one, array] : entries_[find(name)].states) all.push_back(one);
    return all;
}

std::vector<Companion> Plan::companions_with(const std::string& name, const std::string& method,
                                             const py::dict& options) const {
    return companions_of(entries_[find(name)], read_group(method, options));
}

uint64_t Plan::get_number(const std::string& name) const { return plan_.tensors[find(name)].cargo.tensor; }
void Plan::set_number(const std::string& name, uint64_t number) {
    ++plan_.version;
    plan_.tensors[find(name)].cargo.tensor = number;
}

int64_t Plan::get_step(const std::string& name) {
    if (stepper_ && stepper_->uncertain()) fetch();
    return plan_.tensors[find(name)].step;
}
void Plan::set_step(const std::string& name, int64_t step) {
    fetch();
    Tensor& tensor = plan_.tensors[find(name)];
    const std::lock_guard lock(stepping_);
    tensor.step = step;
    if (stepper_) stepper_->set_counters(plan_);
}

std::pair<int64_t, int64_t> Plan::get_extent(const std::string& name) const {
    const Extent& extent = plan_.tensors[find(name)].extent;
    return {extent.offset, extent.whole};
}

}  // namespace fusedstep::bindings
