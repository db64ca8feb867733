// The step of a function: a plan keeps its options, and has its arrays for one call.
#include <pybind11/stl.h>

#include <optional>
#include <set>

#include "at_end.hpp"
#include "cuda.hpp"
#include "look.hpp"
#include "plan.hpp"

namespace fusedstep::bindings {
namespace {

/// The type of an array's elements; nothing of what is no array of numbers, which is refused later.
std::optional<Type> chosen_type(py::handle object, const Layout& param) {
    if (py::isinstance<py::array>(object)) {
        const auto array = py::reinterpret_borrow<py::array>(object);
        return is_native(array) ? find_type(array) : std::nullopt;
    }
    if (const std::optional<Seen> seen = see(object, param)) return seen->type;
    try {
        const auto array = described(py::reinterpret_borrow<py::object>(object), {});
        return array ? find_type(*array) : std::nullopt;
    } catch (const py::type_error&) {
        return {};
    }
}

}  // namespace

/// The array of a state that stands beside a parameter.
py::object Plan::given_state(const py::dict& states, const std::string& name, size_t tensor) const {
    const py::object given = states[py::str(name)];
    if (options_.front().structure.is_leaf()) return given;
    return given[py::int_(tensor)];
}

/// The types of states as they come: one for all parameters, where it is not what these are calculated in.
void Plan::choose_types(const std::vector<Entry>& added, const py::dict& states) {
    storage_.state.clear();
    for (const State& state : plan_.groups.front().states()) {
        if (state.kind != State::like_param) continue;
        std::set<std::string> types;
        bool others = false;
        for (size_t i = 0; i < added.size(); ++i) {
            const Layout& param = added[i].layout;
            const std::optional<Type> type = chosen_type(given_state(states, state.name, i), param);
            if (!type) continue;
            types.insert(name_of(*type));
            others |= *type != arithmetic(param.type);
        }
        if (!others) continue;
        if (types.size() > 1)
            throw py::type_error(optimizer_ + ": " + state.name + " must have one type in all its arrays, got " +
                                 py::repr(py::cast(std::vector(types.begin(), types.end()))).cast<std::string>());
        storage_.state[state.name] = *types.begin();
    }
}

/// What the plan has on another device than that of its next arrays is of no use.
void Plan::move_to(const Device& device) {
    if (device == device_) return;
    leave_device();
    device_ = device;
}

void Plan::call(const py::object& param, const py::object& grad, const py::dict& states, int64_t step, double lr,
                uint64_t seed) {
    const Busy busy(busy_, optimizer_);
    const AtEnd lent([&] {
        const std::vector<Entry> last = std::exchange(entries_, {});  // whose end may run anything
        let_go();
        places_.clear();
        territory_ = {};
        plan_.tensors.clear();
    });
    std::vector<Leaf> leaves;
    options_.front().structure = Structure::of(param, 0, {optimizer_, params_}, leaves);
    std::vector<Entry> added = checked(leaves, {}, {});
    choose_types(added, states);
    move_to(added.empty() ? Device{} : added.front().layout.device);
    if (device_.kind == Device::cuda && is_captured(added.front().param))
        throw std::runtime_error(optimizer_ +
                                 ": param must not be updated by a function while a graph is captured (a bound step "
                                 "of an optimizer can be), got a stream that one is captured from");
    size_t tensor = 0;
    furnish(added, {}, plan_.groups.front(), [&](const Entry&, const std::vector<Companion>& companions) {
        py::list arrays;
        for (const Companion& one : companions) arrays.append(given_state(states, one.name, tensor));
        ++tensor;
        return arrays;
    });
    plan_.seed = seed;
    enroll(std::move(added));
    for (Tensor& one : plan_.tensors) one.step = step - 1;
    plan_.groups.front().lr = lr;
    take_all(grad, py::none(), false);
    void* const stream = own_stream();
    check_places();
    run(stream);
}

}  // namespace fusedstep::bindings
