// What a step is given: matched with the parameters, checked, and held until the step's end.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "../kernel/stages.hpp"
#include "roster.hpp"

namespace fusedstep::bindings {

/// Gradients and stages that were checked, for steps that find new values in the same arrays.
struct Binding {
    struct Arrays {
        const void* grad;  ///< null skips the tensor
        Type grad_type;
        void* copy;  ///< null where there is none
        Type copy_type;
    };
    /// What could get other memory.
    struct Place {
        std::string_view argument;
        std::optional<size_t> tensor;  ///< nothing of a stage's number
        Movable movable;
    };

    int64_t version;                 ///< of the optimizer that they are for
    uint64_t number;                 ///< among all that were bound
    std::vector<py::object> arrays;  ///< keeps the memory alive
    std::vector<Place> places;
    std::vector<Arrays> tensors;
    Stages stages;
};

class Intake {
public:
    explicit Intake(Roster& roster) : roster_(roster) {}

    /// Takes the gradients and the stages of a step, a dict, or None for the update alone. `described`: each gradient
    /// is wanted as an array; else of another library's array its memory is held, where a look is enough.
    void take(const py::object& grads, const py::object& stages, bool described);

    /// What was taken for a tensor; null where there is nothing.
    const py::object& grad(size_t tensor) const { return held_[tensor].grad; }
    const py::object& copy(size_t tensor) const { return held_[tensor].copy; }

    /// What was taken, for later steps of an optimizer that has this version.
    Binding bind(int64_t version);

    /// Throws if any of that has got other memory.
    void check_places(const Binding& binding) const;

    /// Takes what is bound, but for its stages. It stays behind the step, for the next: nobody looks at it in between,
    /// and whoever comes with something else lets it go first.
    void put(const Binding& binding);

    void let_go();

private:
    /// What a step is given for a tensor, kept alive while the interpreter is released.
    struct Held {
        py::object keeper, copy_keeper;  ///< have the memory of other libraries' arrays, and go last
        py::object grad, copy;
    };
    /// A stage's number that lies on the device.
    struct Number {
        std::string_view argument;
        py::array array;
    };

    void take_all(const py::object& grads, const py::object& stages, bool described);
    void take_grad(size_t tensor, py::handle grad, bool quickly);
    void take_copy(size_t tensor, py::handle array, bool quickly);
    Live take_number(const py::dict& stages, std::string_view argument);
    void keep_apart(bool zero_grad);

    static constexpr std::string_view copy_to_ = "copy_to", grad_scale_ = "grad_scale", norm_ = "norm";

    Roster& roster_;
    std::vector<Held> held_;  ///< by tensor
    std::vector<Number> numbers_;
    uint64_t bounds_ = 0;  ///< how often gradients were bound
};

}  // namespace fusedstep::bindings
