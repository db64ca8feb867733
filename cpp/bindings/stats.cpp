#include "stats.hpp"

#include <algorithm>

#include "../cpu/stats.hpp"
#include "cuda.hpp"
#include "released.hpp"
#include "structure.hpp"

namespace fusedstep::bindings {
namespace {

constexpr std::string_view caller = "stats", names[] = {"grads", "before", "after"};

/// The leaves of a tree that mirrors the gradients.
std::vector<py::object> mirrored(const Structure& structure, size_t count, const py::object& tree, int argument) {
    std::vector<py::object> leaves(count);
    structure.match(tree, {caller, names[argument]}, names[0],
                    [&](size_t leaf, py::handle value) { leaves[leaf] = py::reinterpret_borrow<py::object>(value); });
    return leaves;
}

}  // namespace

Readings::Readings(const py::object& grads, const py::object& before, const py::object& after) {
    if (before.is_none() != after.is_none())
        throw py::type_error("stats: before and after must come together, got only " +
                             std::string(names[before.is_none() ? 2 : 1]));
    std::vector<Leaf> leaves;
    const Structure structure = Structure::of(grads, 0, {caller, names[0]}, leaves);
    std::vector<py::object> found, left;
    if (!before.is_none()) {
        found = mirrored(structure, leaves.size(), before, 1);
        left = mirrored(structure, leaves.size(), after, 2);
    }
    const Leaf* first = nullptr;
    for (size_t i = 0; i < leaves.size(); ++i) {
        const Leaf& leaf = leaves[i];
        if (leaf.value.is_none()) continue;
        const auto where = [&](int argument) { return Where{caller, names[argument], {}, leaf.path}; };
        Reading reading{leaf.name, check_read(leaf.value, where(0)), py::none(), py::none()};
        if (!first) {
            first = &leaf;
            device_ = device_of(reading.grad);
        }
        check_device(reading.grad, device_, where(0), Where{caller, names[0], {}, first->path});
        if (!before.is_none()) {
            const py::array old = check_read(found[i], where(1));
            check_shape(old, reading.grad, where(1), where(0));
            check_device(old, device_, where(1), where(0));
            reading.after = check_alike(left[i], Layout(old), where(2), where(1));
            reading.before = old;
        }
        readings_.push_back(std::move(reading));
    }
}

py::list Readings::arrays() const {
    py::list rows;
    const auto shown = [&](const py::object& array) -> py::object {
        return array.is_none() || device_.kind == Device::cpu ? array : as_given(array.cast<py::array>());
    };
    for (const Reading& one : readings_)
        rows.append(py::make_tuple(one.name, shown(one.grad), shown(one.before), shown(one.after)));
    return rows;
}

py::list Readings::measure() const {
    std::vector<fusedstep::Reading> readings;
    for (const Reading& one : readings_) {
        fusedstep::Reading reading{one.grad.data(), type_of(one.grad), one.grad.size()};
        if (!one.before.is_none()) {
            const auto before = one.before.cast<py::array>();
            reading.before = before.data();
            reading.after = one.after.cast<py::array>().data();
            reading.param_type = type_of(before);
        }
        readings.push_back(reading);
    }
    std::vector<Found> found;
    void* stream = nullptr;
    if (device_.kind != Device::cpu) {
        refuse_capture(readings_.front().grad, std::string(caller));
        stream = current_stream(readings_.front().grad);
    }
    {
        const Released released;
        found = device_.kind == Device::cpu ? cpu::measure(readings)
                                            : cuda_backend().measure(device_.index, readings, stream);
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
