// The stages of a step at the border: a dict that Python has checked, all but arrays.
#pragma once

#include <pybind11/pybind11.h>

#include "../kernel/stages.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

inline Stages read_stages(const py::dict& given) {
    const auto number = [&](const char* name) {
        const py::object value = given[name];
        if (value.is_none()) return Maybe();
        return Maybe(PyFloat_Check(value.ptr()) ? value.cast<double>() : 1);  // what an array holds is not read here
    };
    const auto policy = given["on_nonfinite"].cast<std::string>();
    Stages stages;
    stages.grad_scale = *number("grad_scale");
    stages.max_norm = number("max_norm");
    stages.max_norm_per_tensor = number("max_norm_per_tensor");
    stages.norm = number("norm");
    if (const Maybe most = number("clip_value")) stages.clip_value = *most;
    stages.on_nonfinite = policy == "skip" ? Stages::skip : policy == "raise" ? Stages::raise : Stages::propagate;
    stages.zero_grad = given["zero_grad"].cast<bool>();
    return stages;
}

}  // namespace fusedstep::bindings
