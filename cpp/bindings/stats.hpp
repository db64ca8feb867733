// Arrays that are only read, with what is measured of them.
#pragma once

#include <string>
#include <vector>

#include "arrays.hpp"

namespace fusedstep::bindings {

/// Checked gradients, and the parameters before and after a step where they are given.
class Readings {
public:
    Readings(const py::object& grads, const py::object& before, const py::object& after);

    /// For each gradient that is not None its name and the arrays.
    py::list arrays() const;

    /// For each its size, Σ|g|, Σg², Σg, the largest, the numbers of zeros and of what is not finite, the histogram,
    /// and of the parameters ΣΔ², Σθ² and how many have the same bits.
    py::list measure() const;

private:
    struct Reading {
        std::string name;
        py::array grad;
        py::object before, after;  ///< arrays or None
    };
    std::vector<Reading> readings_;
    Device device_;  ///< of all of them
};

}  // namespace fusedstep::bindings
