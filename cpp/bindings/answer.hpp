// What Python says where an error is an answer as well: that there is none. An interruption is not, and goes through.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bindings {

namespace py = pybind11;

/// Takes Python's error, if there is one, for an answer.
inline void forget_error() {
    if (!PyErr_Occurred()) return;
    if (!PyErr_ExceptionMatches(PyExc_Exception)) throw py::error_already_set();
    PyErr_Clear();
}

/// What an object has under a name; null where it has nothing.
inline py::object attribute(py::handle object, const char* name) {
    auto found = py::reinterpret_steal<py::object>(PyObject_GetAttrString(object.ptr(), name));
    forget_error();
    return found;
}

}  // namespace fusedstep::bindings
