// A tensor of torch, held by the C interface that is there for compiled models: to ask it for an address takes 5 ns,
// Python's method 60.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <optional>

namespace fusedstep::bindings {

namespace py = pybind11;

class Handle {
public:
    /// Nothing where an object is no tensor of torch's own classes, or this torch has no such interface.
    static std::optional<Handle> of(const py::object& object);

    /// Where the data of a tensor lies, and how, in elements; the strides are the tensor's own.
    struct Place {
        uintptr_t address;
        int64_t ndim;
        const int64_t* strides;
    };

    /// That of the object that it was made of, as it is now; nothing where torch does not say, or the object has
    /// another class by now.
    std::optional<Place> place(const py::object& object) const;

private:
    using Address = int (*)(void* tensor, void** data);
    using Dimensions = int (*)(void* tensor, int64_t* ndim);
    using Strides = int (*)(void* tensor, int64_t** strides);
    using Release = int (*)(void* tensor);
    struct Torch;

    static std::unique_ptr<Torch> open();
    static const Torch* torch();

    Handle(void* tensor, py::handle type, const Torch& torch);

    std::shared_ptr<void> tensor_;
    PyTypeObject* type_;
    const Torch* torch_;
};

}  // namespace fusedstep::bindings
