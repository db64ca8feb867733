#include "roster.hpp"

#include <pybind11/stl.h>

#include <algorithm>

#include "cut.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

/// What Python may see of an array: NumPy's description of memory that it can read, or what the user gave.
py::object visible(const py::array& array) {
    return device_of(array).kind == Device::cpu ? py::object(array) : as_given(array);
}

}  // namespace

Roster::Roster(std::string optimizer, std::pair<std::string, std::string> arguments, const py::dict& storage,
               bool entry_per_group, bool of_function)
    : optimizer(std::move(optimizer)),
      params(std::move(arguments.first)),
      grads(std::move(arguments.second)),
      storage(storage),
      entry_per_group_(entry_per_group),
      of_function_(of_function) {}

Roster::Provide Roster::ask(const py::function& provide) {
    return [provide](const Entry& entry, const std::vector<Companion>& companions) {
        return py::list(call_python(provide, py::make_tuple(entry.name, visible(entry.param), companions)));
    };
}

void Roster::enroll(Group group, Structure structure, std::vector<Entry> added) {
    sections_.push_back({std::move(structure), entries_.size(), "[" + std::to_string(sections_.size()) + "]"});
    plan.groups.push_back(std::move(group));
    for (Entry& entry : added) {
        places_.emplace(entry.name, entries_.size());
        Tensor tensor;
        tensor.group = int(plan.groups.size()) - 1;
        tensor.calculate_in(arithmetic(entry.layout.type));
        tensor.cargo.tensor = entries_.size();
        plan.tensors.push_back(tensor);
        entries_.push_back(std::move(entry));
        seat(entries_.size() - 1);
    }
    for (Entry& entry : entries_) entry.last_grad = nullptr;
}

bool Roster::cut_plan(size_t groups) {
    const size_t first = first_of(groups);
    const bool fewer = first < plan.tensors.size();
    cut(plan.tensors, first);
    cut(plan.groups, groups);
    ++plan.version;
    return fewer;
}

void Roster::cut_entries(size_t groups) {
    const size_t first = first_of(groups);
    territory_.leave(first);
    std::erase_if(places_, [&](const auto& place) { return place.second >= first; });
    cut(entries_, first);
    cut(sections_, groups);
}

/// Gives the kernel a parameter's address. Nothing is refused any more, not even what has become read-only since it was
/// checked: the tensors behind this one would have no places.
void Roster::seat(size_t tensor) {
    Tensor& target = plan.tensors[tensor];
    Entry& entry = entries_[tensor];
    target.size = entry.layout.size;
    target.extent = entry.extent;
    target.buffers.param = const_cast<void*>(entry.param.data());
    attach(tensor);
}

/// Gives it the addresses of what stands beside that.
void Roster::attach(size_t tensor) {
    ++plan.version;
    Tensor& target = plan.tensors[tensor];
    Entry& entry = entries_[tensor];
    // All else of the cargo stays: a step that takes over changed options has its gradient and its copy already.
    for (Format& state : target.cargo.state) state = {target.type};
    target.cargo.param = storage.format_of_param(entry.layout);
    target.cargo.average_decay = storage.average_decay.value_or(0);
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

Roster::Renewal Roster::renewal(size_t group, Group options, const Provide& provide) const {
    Renewal made{group, std::move(options), {}};
    if (made.options.states() == plan.groups[group].states()) return made;
    for (size_t i = first_of(group); i < first_of(group + 1); ++i) {
        const Entry& entry = entries_[i];
        const auto keep = [&](const Entry& one, const std::vector<Companion>& companions) {
            return with_missing(one, companions, provide);
        };
        made.states.push_back(provide_arrays(entry, where(params, i), companions_of(entry, made.options), keep));
    }
    return made;
}

void Roster::renew(std::vector<Renewal>& all, bool keeps) {
    if (keeps) {
        size_t count = dropped_.size();
        for (const Renewal& one : all) count += one.states.size();
        dropped_.reserve(count);  // before anything is changed
    }
    bool others = false;
    for (Renewal& one : all) {
        for (size_t i = 0; i < one.states.size(); ++i) {
            const size_t tensor = first_of(one.group) + i;
            std::swap(entries_[tensor].states, one.states[i]);
            if (keeps) dropped_.push_back(std::move(one.states[i]));
            attach(tensor);
        }
        plan.groups[one.group] = std::move(one.options);  // by which the next renewal knows what states there are
        others |= !one.states.empty();
    }
    ++plan.version;
    if (others) survey();
}

bool Roster::reuse(const py::object& given, const std::vector<py::object>& states) try {
    if (entries_.empty() || !sections_.front().structure.is_like(given)) return false;
    const auto where = [&](const Entry& entry) { return Where{optimizer, params, {}, entry.path}; };
    bool alike = true;
    match(given, params, [&](size_t tensor, py::handle array) {
        alike = alike && py::isinstance<py::array>(array);
        if (!alike) return;
        Entry& entry = entries_[tensor];
        entry.param = check_param(array, where(entry));  // which may run anything: its type is asked for behind that
        alike = py::detail::array_proxy(entry.param.ptr())->descr == entry.layout.dtype.ptr();
        entry.layout.reshape(entry.param);
        entry.extent = {0, entry.layout.size};
    });
    for (size_t i = 0; alike && i < states.size(); ++i)
        match(states[i], entries_.front().states[i].first.name, [&](size_t tensor, py::handle array) {
            Entry& entry = entries_[tensor];
            auto& [companion, place] = entry.states[i];
            alike = alike && py::isinstance<py::array>(array) &&
                    (companion.kind != Companion::like_param ||
                     find_type(py::reinterpret_borrow<py::array>(array)) == companion.format.type);
            if (alike) place = check_companion(array, companion, entry, where(entry));
        });
    if (!alike) return false;
    survey();
    for (size_t i = 0; i < entries_.size(); ++i) seat(i);
    return true;
} catch (const py::builtin_exception&) {
    return false;
}

void Roster::vacate() {
    territory_ = {};
    for (Entry& entry : entries_) {  // which nobody else has meanwhile, whatever the end of an array runs
        entry.movable.clear();
        for (auto& [companion, array] : entry.states) array.release().dec_ref();
        entry.param.release().dec_ref();
    }
}

void Roster::clear() {
    const std::vector<Entry> last = std::exchange(entries_, {});  // whose end may run anything
    territory_ = {};
    places_.clear();
    sections_.clear();
    plan.tensors.clear();
    plan.groups.clear();
}

void Roster::forget() {
    clear();
    dropped_.clear();
    plan = {};
}

size_t Roster::find(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) throw py::key_error(name);
    return found->second;
}

py::object Roster::group_structure(size_t group) const {
    const Section& section = sections_.at(group);
    return section.structure.fill([&](size_t leaf) { return as_given(entries_[section.first + leaf].param); });
}

py::tuple Roster::entry_for_each(const py::object& tree, std::string_view argument) const {
    if (!is_list(tree))
        throw py::type_error(Where{optimizer, argument}.text() + " must be a list with one entry for each group, got " +
                             type_name(tree));
    const py::tuple entries(tree);  // whatever becomes of a list while its arrays are read
    if (entries.size() != sections_.size())
        throw py::value_error(Where{optimizer, argument}.text() + " must have " + std::to_string(sections_.size()) +
                              " entries, one for each group, got " + std::to_string(entries.size()));
    return entries;
}

py::object Roster::structure(const py::dict& leaves) const {
    const std::vector<Section> sections = sections_;  // what the collector runs meanwhile may add one
    py::list all;
    for (const Section& section : sections)
        all.append(section.structure.fill(
            [&](size_t leaf) { return py::object(leaves[py::str(entries_[section.first + leaf].name)]); }));
    return entry_per_group_ || sections.size() != 1 ? py::object(all) : py::object(all[0]);
}

std::vector<std::string> Roster::names() const {
    std::vector<std::string> names;
    for (const Entry& entry : entries_) names.push_back(entry.name);
    return names;
}

py::object Roster::param(const std::string& name) const { return visible(entries_[find(name)].param); }

py::dict Roster::arrays(const std::string& name) const {
    py::dict made;
    for (const auto& [one, array] : entries_[find(name)].states) made[py::str(one.name)] = visible(array);
    return made;
}

std::vector<Companion> Roster::companions(const std::string& name) const {
    std::vector<Companion> all;
    for (const auto& [one, array] : entries_[find(name)].states) all.push_back(one);
    return all;
}

std::vector<Companion> Roster::companions_with(const std::string& name, const Group& options) const {
    return companions_of(entries_[find(name)], options);
}

std::pair<int64_t, int64_t> Roster::extent(const std::string& name) const {
    const Extent& extent = entries_[find(name)].extent;
    return {extent.offset, extent.whole};
}

}  // namespace fusedstep::bindings
