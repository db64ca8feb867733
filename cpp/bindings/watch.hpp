// A group's dict of hyper-parameters, which its user may change between steps.
#pragma once

#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace fusedstep::bindings {

namespace py = pybind11;

class Watch {
public:
    struct Change {
        bool any = false;
        py::object rate;  ///< the new one, where it is all that was changed, from a number to one that is right
    };

    /// Remembers a dict and its items: as long as they are the same objects, nothing has changed.
    explicit Watch(const py::dict& dict) : dict_(dict) {
        py::object lr = dict["lr"];
        for (const auto& [key, value] : dict) {
            // Nothing of Python compares them: it could change the dict.
            if (PyUnicode_Check(key.ptr()) && PyUnicode_CompareWithASCIIString(key.ptr(), "lr") == 0)
                rate_ = items_.size();
            items_.emplace_back(py::reinterpret_borrow<py::object>(key), py::reinterpret_borrow<py::object>(value));
        }
        if (PyCallable_Check(lr.ptr())) schedule_ = std::move(lr);
    }

    /// Runs nothing of Python.
    Change change(py::handle dict) const {
        if (dict.ptr() != dict_.ptr() || size_t(PyDict_Size(dict.ptr())) != items_.size()) return {true, {}};
        Change found;
        Py_ssize_t position = 0;
        PyObject *key, *value;
        for (size_t i = 0; i < items_.size(); ++i) {
            const auto& [seen_key, seen_value] = items_[i];
            if (!PyDict_Next(dict.ptr(), &position, &key, &value) || key != seen_key.ptr()) return {true, {}};
            if (value == seen_value.ptr()) continue;
            if (i != rate_ || !is_rate(seen_value) || !is_rate(value)) return {true, {}};
            found.rate = py::reinterpret_borrow<py::object>(value);
        }
        return found;
    }

    void see_rate(const py::object& lr) { items_[rate_].second = lr; }

    /// The learning rate, if it is a schedule.
    const py::object& schedule() const { return schedule_; }

    template <class Visit>
    void each_object(const Visit& visit) const {
        visit(dict_);
        visit(schedule_);
        for (const auto& [key, value] : items_) {
            visit(key);
            visit(value);
        }
    }

private:
    /// Of Python's own class: another would be made one of these.
    static bool is_rate(py::handle value) {
        if (!PyFloat_CheckExact(value.ptr())) return false;
        const double rate = PyFloat_AS_DOUBLE(value.ptr());
        return std::isfinite(rate) && rate >= 0;
    }

    py::dict dict_;
    std::vector<std::pair<py::object, py::object>> items_;
    size_t rate_ = SIZE_MAX;  ///< which of them the learning rate is, if its name is no other's
    py::object schedule_;
};

}  // namespace fusedstep::bindings
