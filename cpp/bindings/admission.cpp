// What parameters, and the arrays beside them, are checked for before they become tensors.
#include <map>
#include <unordered_set>

#include "../storage/code8.hpp"
#include "roster.hpp"

namespace fusedstep::bindings {

Extent Roster::read_extent(const std::string& name, int64_t size, const py::dict& extents) const {
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
    throw py::value_error(optimizer + ": extents['" + name +
                          "'] must be (offset, size of the whole), which holds the " + std::to_string(size) +
                          " elements of the parameter, got " + py::repr(given).cast<std::string>());
}

/// What only some parameters can have.
void Roster::check_storage(const Entry& entry, const Where& where) const {
    const Type type = entry.layout.type;
    if (storage.rounding == Rounding::remainder && type == Type::float16)
        throw py::type_error(where.text() + " must be bfloat16 with rounding='remainder', got float16");
    for (const auto& [name, chosen] : storage.state)
        if (chosen == "sq8" && entry.extent.whole >= Storage::worth_a_code && entry.extent.offset % Code8::block)
            throw py::value_error(optimizer + ": extents['" + entry.name + "'] must begin at a multiple of " +
                                  std::to_string(Code8::block) + " for sq8, got " +
                                  std::to_string(entry.extent.offset));
}

std::vector<Roster::Entry> Roster::checked(const std::vector<Leaf>& leaves, std::string_view place,
                                           const py::dict& extents, bool of_copy) const {
    std::vector<Entry> added;
    std::vector<Span> claims;
    std::unordered_set<std::string> names;
    for (const Leaf& leaf : leaves) {
        const Where where{optimizer, params, place, leaf.path};
        if (places_.contains(leaf.name) || !names.insert(leaf.name).second)
            throw py::value_error(where.text() + " must have a name of its own, got '" + leaf.name + "' a second time");
        py::array array = check_param(leaf.value, where, !of_copy);
        const Extent extent = read_extent(leaf.name, array.size(), extents);
        claims.emplace_back(array.data(), array.nbytes(), entries_.size() + added.size(), 0);
        added.push_back({leaf.name, leaf.path, array, of_copy, Layout(array), extent, {}});
        const Entry& first = entries_.empty() ? added.front() : entries_.front();
        const std::string_view its_place = entries_.empty() ? place : place_of(0);
        check_device(array, first.layout.device, where, {optimizer, params, its_place, first.path});
        check_storage(added.back(), where);
    }
    // Parameters that overlap are refused before any state is made for them.
    territory_.check(std::move(claims), optimizer, array_names(added, place));
    return added;
}

std::vector<Companion> Roster::companions_of(const Entry& entry, const Group& group) const {
    return storage.companions(group.states(), entry.layout, entry.extent);
}

Roster::Arrays Roster::provide_arrays(const Entry& entry, const Where& of, std::vector<Companion> companions,
                                      const Provide& provide) const {
    Arrays made;
    const py::list given = provide(entry, companions);
    for (size_t i = 0; i < companions.size(); ++i) {
        py::array array = check_companion(given[i], companions[i], entry, of);
        made.emplace_back(std::move(companions[i]), std::move(array));
    }
    return made;
}

/// The arrays that an entry has, and of others those that it is given.
py::list Roster::with_missing(const Entry& entry, const std::vector<Companion>& companions, const Provide& provide) {
    std::map<std::string, py::object> arrays;
    std::vector<Companion> missing;
    for (const Companion& one : companions) {
        for (const auto& [known, owned] : entry.states)
            if (known.name == one.name && (one.kind != Companion::ring || owned.shape(0) == one.planes))
                arrays[one.name] = owned;
        if (!arrays.contains(one.name)) missing.push_back(one);
    }
    if (!missing.empty()) {
        const py::list given = provide(entry, missing);
        for (size_t i = 0; i < missing.size(); ++i) arrays[missing[i].name] = given[i];
    }
    py::list all;
    for (const Companion& one : companions) all.append(arrays[one.name]);
    return all;
}

py::array Roster::check_companion(py::handle given, const Companion& one, const Entry& entry, const Where& of) const {
    const auto [argument, path] = called("memory", entry, one.name);
    const Where where{optimizer, argument, {}, path};
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

void Roster::furnish(std::vector<Entry>& added, std::string_view place, const Group& group, const Provide& provide) {
    std::vector<Span> claims;
    for (Entry& entry : added) {
        entry.states =
            provide_arrays(entry, {optimizer, params, place, entry.path}, companions_of(entry, group), provide);
        claim(claims, entry, entries_.size() + size_t(&entry - added.data()));
    }
    territory_.claim(std::move(claims), optimizer, array_names(added, place));
}

}  // namespace fusedstep::bindings
