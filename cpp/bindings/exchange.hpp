// Arrays whose library has DLPack's table of functions for C, which describe an array in a tenth of the time that
// Python's methods take.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "dlpack.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

struct Exchanged {
    py::object keeper;      ///< of the memory, whatever becomes of the array
    dlpack::Tensor tensor;  ///< for as long as the array stays as it is
};

/// How a class's arrays are asked.
class Producer {
public:
    /// Asked once for each class that can be asked, which then stays as long as the process.
    static Producer of(PyTypeObject* type);

    /// Whether an array is a view of the negatives of what its memory holds.
    bool is_negative(py::handle object) const;

    /// Nothing where the class has no such functions, or they do not describe this array.
    std::optional<Exchanged> exchange(py::handle object) const;

    /// Whether `__cuda_array_interface__` says everything.
    bool has_interface() const { return has_interface_ && !has_negatives_; }

private:
    int (*describe_)(void* object, dlpack::Tensor* described) = nullptr;
    bool has_negatives_ = false, has_interface_ = false;
};

}  // namespace fusedstep::bindings
