// A quick look at another library's array: by DLPack's table of functions for C (torch since 2.10), which tells in
// fifty nanoseconds what takes ten microseconds in Python, or by the dict of a CUDA array (CuPy, Numba).
#pragma once

#include "arrays.hpp"

namespace fusedstep::bindings {

/// The memory of an array, and what keeps it, beside the array: that could get another.
struct Seen {
    py::object keeper;
    const void* data;
    Type type;
};

/// That of an array of a floating type that has this parameter's device, shape and strides, and can be written to;
/// nothing for everything else, of which a longer look tells more.
std::optional<Seen> see(py::handle object, const Layout& param);

}  // namespace fusedstep::bindings
