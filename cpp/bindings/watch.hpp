// A group's dict of hyper-parameters, which its user may change between steps.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>
#include <vector>

namespace fusedstep::bindings {

namespace py = pybind11;

class Watch {
public:
    explicit Watch(const py::dict& dict) { see(dict); }

    /// Remembers a dict and its items: as long as they are the same objects, nothing has changed.
    void see(const py::dict& dict) {
        dict_ = dict;
        items_.clear();
        for (const auto& [key, value] : dict)
            items_.emplace_back(py::reinterpret_borrow<py::object>(key), py::reinterpret_borrow<py::object>(value));
        const py::object lr = dict["lr"];
        schedule_ = PyCallable_Check(lr.ptr()) ? lr : py::object();
    }

    bool unchanged(py::handle dict) const {
        if (dict.ptr() != dict_.ptr() || size_t(PyDict_Size(dict.ptr())) != items_.size()) return false;
        Py_ssize_t position = 0;
        PyObject *key, *value;
        for (const auto& [seen_key, seen_value] : items_)
            if (!PyDict_Next(dict.ptr(), &position, &key, &value) || key != seen_key.ptr() || value != seen_value.ptr())
                return false;
        return true;
    }

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
    py::dict dict_;
    std::vector<std::pair<py::object, py::object>> items_;
    py::object schedule_;
};

}  // namespace fusedstep::bindings
