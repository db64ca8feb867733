// Tensors of torch, asked for the few attributes that tell what they are: as DLPack they take ten microseconds.
#pragma once

#include "arrays.hpp"

namespace fusedstep::bindings {

/// The memory of a tensor, and what keeps it: the tensor could get another.
struct Seen {
    py::object storage;
    const void* data;
    Type type;
};

/// That of a tensor of a floating type that has this parameter's device, shape and strides; nothing for everything
/// else, of which a longer look tells more.
std::optional<Seen> see_tensor(py::handle object, const Layout& param);

}  // namespace fusedstep::bindings
