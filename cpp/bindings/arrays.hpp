// NumPy arrays at the border: every check and every message. Nothing here converts or copies.
#pragma once

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "kernel/buffers.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

/// Names an argument in a message: the optimizer, the argument, and its place, as in `Adam: grads[3]`.
struct Where {
    const std::string& optimizer;
    const std::string& argument;
    const std::string& place;  ///< of the group, where there are several
    const std::string& path;

    std::string name() const { return argument + place + path; }
    std::string text() const { return optimizer + ": " + name(); }
};

/// What an array must have in common with its parameter.
struct Layout {
    py::dtype dtype;
    Type type;
    std::vector<py::ssize_t> shape, strides;
    int64_t size;

    explicit Layout(const py::array& array);
};

/// A stretch of memory and whose it is.
struct Span {
    const char* begin;
    const char* end;
    std::string owner;
};

/// A parameter: float32 or float64, writeable, dense in any order of axes.
py::array check_param(py::handle object, const Where& where);

/// An array that is read beside its parameter: the same type, shape and strides.
py::array check_like(py::handle object, const Layout& param, const Where& where, const Where& of);

/// The same, and written to.
py::array check_state(py::handle object, const Layout& param, const Where& where, const Where& of);

/// `planes` arrays like the parameter, one behind the other in memory.
py::array check_ring(py::handle object, const Layout& param, int64_t planes, const Where& where, const Where& of);

/// One float64 that is written to.
py::array check_scalar(py::handle object, const Where& where);

/// Whether an array is exactly what its parameter asks of a gradient: decided without a message, in a few nanoseconds.
bool fits(py::handle object, const Layout& param);

/// Memory that is written to: no two stretches may overlap, and nothing that is read may overlap them.
class Territory {
public:
    /// Adds stretches, all or none.
    void claim(std::vector<Span> spans, const std::string& optimizer);

    /// Throws if something that is only read lies in it.
    void keep_out(const py::array& array, const Where& where) const;

private:
    std::vector<Span> spans_;  ///< sorted, disjoint, none of them empty
};

Span span_of(const py::array& array, const Where& where);

}  // namespace fusedstep::bindings
