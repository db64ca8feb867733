// Arrays at the border: every check and every message. Nothing here converts or copies.
#pragma once

#include <pybind11/numpy.h>

#include <optional>
#include <string>
#include <vector>

#include "foreign.hpp"
#include "where.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

/// What an array must have in common with its parameter.
struct Layout {
    py::dtype dtype;
    Type type;
    std::vector<py::ssize_t> shape, strides;
    int64_t size, itemsize;
    Device device;

    explicit Layout(const py::array& array);

    /// Takes the shape of another array of this type and device.
    void reshape(const py::array& array);

    /// The same elements in the same order, of another size.
    Layout with_items_of(int64_t bytes) const;
};

/// What an array's elements are called: NumPy's name, or "bfloat16" where raw bits are marked as such.
std::string type_name_of(const py::array& array);
std::string name_of(Type type);  ///< of numbers, not of codes

/// A parameter: a floating type, writeable unless it is not written to yet, dense in any order of axes.
py::array check_param(py::handle object, const Where& where, bool written = true);

/// An array that is only read: a floating type, dense in any order of axes.
py::array check_read(py::handle object, const Where& where);

/// The same, of another's type, shape and strides.
py::array check_alike(py::handle object, const Layout& other, const Where& where, const Where& of);

/// Throws if two arrays differ in shape.
void check_shape(const py::array& array, const py::array& other, const Where& where, const Where& of);

/// A gradient: any floating type, the parameter's shape, and its elements in the parameter's order.
py::array check_grad(py::handle object, const Layout& param, const Where& where, const Where& of);

/// The same, and written to.
py::array check_copy(py::handle object, const Layout& param, const Where& where, const Where& of);

/// The same, of the type of that name.
py::array check_state(py::handle object, const Layout& param, const std::string& type, const Where& where,
                      const Where& of);

/// `planes` arrays like the parameter, one behind the other in memory.
py::array check_ring(py::handle object, const Layout& param, int64_t planes, const std::string& type,
                     const Where& where, const Where& of);

/// One float32 or float64 on a device, which is only read.
py::array check_number(py::handle object, const Device& device, const Where& where, const Where& of);

/// Throws if an array cannot be written to.
void check_written(const py::array& array, const Where& where);

/// So many float32 in a row.
py::array check_scales(py::handle object, int64_t count, const Where& where);

/// Throws if an array is not where another is.
void check_device(const py::array& array, const Device& device, const Where& where, const Where& of);

/// One float64 that is written to.
py::array check_scalar(py::handle object, const Where& where);

/// The type of an array's elements, if it is one that parameters and gradients have.
std::optional<Type> find_type(const py::array& array);
/// The same, of an array that is checked.
Type type_of(const py::array& array);

/// Whether elements have the processor's order of bytes.
bool is_native(const py::array& array);

/// Whether an array has exactly its parameter's type, shape and strides: decided without a message, in a few
/// nanoseconds.
bool fits(py::handle object, const Layout& param);

/// Whether elements lie in memory without gaps, in any order of axes.
bool is_dense(const py::array& array);

}  // namespace fusedstep::bindings
