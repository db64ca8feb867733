// The step of a function: its options are kept, and its arrays are there for one call.
#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "intake.hpp"
#include "roster.hpp"

namespace fusedstep::bindings {

class Function {
public:
    /// Its states as they are given, each with its place among those that its options call for, or -1.
    using StateArguments = std::vector<std::pair<std::string, int>>;

    Function(std::string name, const std::string& method, const py::dict& options, const py::dict& storage,
             StateArguments arguments);

    /// `states` are None or in the structure of the parameters.
    void call(const py::object& param, const py::object& grad, const py::tuple& states, int64_t step, double lr,
              uint64_t seed);

private:
    std::vector<py::object> in_order(const py::tuple& states) const;
    void choose_types(const std::vector<Roster::Entry>& added, const std::vector<py::list>& given);
    void move_to(const Device& device);
    void form(const py::object& param, const std::vector<py::object>& states);
    void vacate();

    const Group group_;
    const StateArguments arguments_;
    Roster roster_;
    Intake intake_{roster_};
    Engine engine_{roster_, true};
    Device device_;  ///< of the arrays of the last call
    std::atomic<bool> busy_{false};
};

}  // namespace fusedstep::bindings
