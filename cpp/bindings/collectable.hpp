// Lets Python's collector see through a C++ object: an optimizer that its own schedule or a bound step refers to is a
// cycle, and would otherwise keep its arrays for ever.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bindings {

namespace py = pybind11;

/// For a class with `each_object(visit)`, which passes every object it owns, and `forget()`, which drops them.
template <class Owner>
py::custom_type_setup collectable() {
    return py::custom_type_setup([](PyHeapTypeObject* heap_type) {
        PyTypeObject& type = heap_type->ht_type;
        type.tp_flags |= Py_TPFLAGS_HAVE_GC;
        type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) -> int {
            Py_VISIT(Py_TYPE(self));
            int stopped = 0;
            if (py::detail::is_holder_constructed(self))
                py::cast<Owner&>(py::handle(self)).each_object([&](const py::object& owned) {
                    if (!stopped && owned) stopped = visit(owned.ptr(), arg);
                });
            return stopped;
        };
        type.tp_clear = [](PyObject* self) -> int {
            if (py::detail::is_holder_constructed(self)) py::cast<Owner&>(py::handle(self)).forget();
            return 0;
        };
    });
}

}  // namespace fusedstep::bindings
