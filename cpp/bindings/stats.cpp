#include "stats.hpp"

#include <algorithm>

#include "cpu/stats.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

const std::string caller = "stats", nowhere;

/// The leaves of a tree that mirrors the gradients.
std::vector<py::object> mirrored(const Structure& structure, size_t count, const py::object& tree,
                                 const std::string& argument) {
    std::vector<py::object> leaves(count);
    structure.match(tree, caller, argument, nowhere,
                    [&](size_t leaf, py::handle value) { leaves[leaf] = py::reinterpret_borrow<py::object>(value); });
    return leaves;
}

}  // namespace

Readings::Readings(const py::object& grads, const py::object& before, const py::object& after) {
    static const std::string names[] = {"grads", "before", "after"};
    if (before.is_none() != after.is_none())
        throw py::type_error("stats: before and after must come together, got only " + names[before.is_none() ? 2 : 1]);
    std::vector<Leaf> leaves;
    const Structure structure = Structure::of(grads, 0, caller, nowhere, leaves, names[0].c_str());
    std::vector<py::object> found, left;
    if (!before.is_none()) {
        found = mirrored(structure, leaves.size(), before, names[1]);
        left = mirrored(structure, leaves.size(), after, names[2]);
    }
    for (size_t i = 0; i < leaves.size(); ++i) {
        const Leaf& leaf = leaves[i];
        if (leaf.value.is_none()) continue;
        const auto where = [&](int argument) { return Where{caller, names[argument], nowhere, leaf.path}; };
        Reading reading{leaf.name, check_read(leaf.value, where(0)), py::none(), py::none()};
        if (const Device device = device_of(reading.grad); device.kind != Device::cpu)
            throw py::type_error(where(0).text() + " must be in the memory of the processor, got an array on " +
                                 name_of(device));
        if (!before.is_none()) {
            const py::array old = check_read(found[i], where(1));
            check_shape(old, reading.grad, where(1), where(0));
            reading.after = check_alike(left[i], Layout(old), where(2), where(1));
            reading.before = old;
        }
        readings_.push_back(std::move(reading));
    }
}

py::list Readings::arrays() const {
    py::list rows;
    for (const Reading& one : readings_) rows.append(py::make_tuple(one.name, one.grad, one.before, one.after));
    return rows;
}

py::list Readings::measure() const {
    std::vector<cpu::Reading> readings;
    for (const Reading& one : readings_) {
        cpu::Reading reading{one.grad.data(), type_of(one.grad), one.grad.size()};
        if (!one.before.is_none()) {
            const auto before = one.before.cast<py::array>();
            reading.before = before.data();
            reading.after = one.after.cast<py::array>().data();
            reading.param_type = type_of(before);
        }
        readings.push_back(reading);
    }
    std::vector<cpu::Found> found;
    {
        const Released released;
        found = cpu::measure(readings);
    }
    py::list rows;
    for (size_t i = 0; i < found.size(); ++i) {
        const Moments& moments = found[i].moments;
        const Change& change = found[i].change;
        const Counts& counts = found[i].counts;
        py::array_t<int64_t> histogram(bins);
        std::copy(counts.histogram, counts.histogram + bins, histogram.mutable_data());
        rows.append(py::make_tuple(readings[i].size, moments.absolute, moments.squares, moments.sum, moments.largest,
                                   counts.zeros, counts.nonfinite, histogram, change.squares, change.before,
                                   counts.same));
    }
    return rows;
}

}  // namespace fusedstep::bindings
