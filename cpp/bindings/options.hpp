// Hyper-parameters at the border: a dict that Python has checked becomes a method.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "../kernel/plan.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

/// The group that a dict of hyper-parameters describes. `lr` may be a schedule; then the group's is set at each step.
Group read_group(const std::string& method, const py::dict& options);

/// The names of all methods.
py::tuple method_names();

}  // namespace fusedstep::bindings
