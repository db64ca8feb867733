#include "function.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <set>

#include "at_end.hpp"
#include "busy.hpp"
#include "cuda.hpp"
#include "look.hpp"
#include "options.hpp"

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

/// The arrays are one, or a list of them, and nothing that is nested.
void check_flat(const py::object& param, const Where& where) {
    if (PyDict_Check(param.ptr()))
        throw py::type_error(where.text() + " must be an array or a list of arrays, got " + type_name(param));
    if (!is_list(param)) return;
    size_t i = 0;
    for (const py::handle item : param) {
        if (is_list(item) || PyDict_Check(item.ptr()))
            throw py::type_error(where.text() + "[" + std::to_string(i) + "] must be an array, got " + type_name(item));
        ++i;
    }
}

}  // namespace

Function::Function(std::string name, const std::string& method, const py::dict& options, const py::dict& storage,
                   StateArguments arguments)
    : group_(read_group(method, options)),
      arguments_(std::move(arguments)),
      roster_(std::move(name), {"param", "grad"}, storage, false, true) {}

/// The states that the options call for.
std::vector<py::object> Function::in_order(const py::tuple& states) const {
    std::vector<py::object> made(arguments_.size());
    size_t count = 0;
    for (size_t i = 0; i < arguments_.size(); ++i) {
        const auto& [name, place] = arguments_[i];
        const py::object state = states[i];
        if (state.is_none() != (place < 0))
            throw py::type_error(roster_.optimizer + ": " + name + " must be " + (place < 0 ? "None" : "given") +
                                 " with these options, got " + type_name(state));
        if (place < 0) continue;
        made[size_t(place)] = state;
        ++count;
    }
    made.resize(count);
    return made;
}

/// The types of states as they come: one for all parameters, where it is not what these are calculated in.
void Function::choose_types(const std::vector<Roster::Entry>& added, const std::vector<py::list>& given) {
    roster_.storage.state.clear();
    size_t number = 0;
    for (const State& state : group_.states()) {
        const size_t place = number++;
        if (state.kind != State::like_param) continue;
        std::set<std::string> types;
        bool others = false;
        for (size_t i = 0; i < added.size(); ++i) {
            const Layout& param = added[i].layout;
            const std::optional<Type> type = chosen_type(given[i][place], param);
            if (!type) continue;
            types.insert(name_of(*type));
            others |= *type != arithmetic(param.type);
        }
        if (!others) continue;
        if (types.size() > 1)
            throw py::type_error(roster_.optimizer + ": " + state.name + " must have one type in all its arrays, got " +
                                 py::repr(py::cast(std::vector(types.begin(), types.end()))).cast<std::string>());
        roster_.storage.state[state.name] = *types.begin();
    }
}

/// What there is on another device than that of the next arrays is of no use.
void Function::move_to(const Device& device) {
    if (device == device_) return;
    engine_.leave_device();
    device_ = device;
}

/// Makes arrays the tensors of the call.
void Function::form(const py::object& param, const std::vector<py::object>& states) {
    roster_.clear();
    const Where where{roster_.optimizer, roster_.params};
    check_flat(param, where);
    std::vector<Leaf> leaves;
    Structure structure = Structure::of(param, 0, where, leaves);
    std::vector<py::list> given(leaves.size());
    size_t number = 0;
    for (const State& state : group_.states())
        structure.match(states[number++], {roster_.optimizer, state.name}, roster_.params,
                        [&](size_t tensor, py::handle array) { given[tensor].append(array); });
    std::vector<Roster::Entry> added = roster_.checked(leaves, {}, {}, false);
    choose_types(added, given);
    move_to(added.empty() ? Device{} : added.front().layout.device);
    if (device_.kind == Device::cuda && is_captured(added.front().param))
        throw std::runtime_error(roster_.optimizer +
                                 ": param must not be updated by a function while a graph is captured (a bound step "
                                 "of an optimizer can be), got a stream that one is captured from");
    roster_.furnish(added, {}, group_, [&](const Roster::Entry& entry, const std::vector<Companion>&) {
        return given[size_t(&entry - added.data())];
    });
    roster_.enroll(group_, std::move(structure), std::move(added));
    engine_.start();
}

/// Lets go of the arrays. What the processor's were like is kept, for a call with others like them.
void Function::vacate() {
    if (device_.kind == Device::cpu)
        roster_.vacate();
    else
        roster_.clear();
}

void Function::call(const py::object& param, const py::object& grad, const py::tuple& given, int64_t step, double lr,
                    uint64_t seed) {
    const Busy busy(busy_, roster_.optimizer);
    const std::vector<py::object> states = in_order(given);
    const AtEnd lent([&] {
        intake_.let_go();
        vacate();
    });
    fusedstep::Plan& plan = roster_.plan;
    plan.seed = seed;
    if (!roster_.reuse(param, states)) form(param, states);
    for (Tensor& one : plan.tensors) one.step = step - 1;
    plan.groups.front().lr = lr;
    intake_.take(grad, py::none(), false);
    void* const stream = engine_.stream();
    roster_.check_places();
    engine_.run(stream);
}

}  // namespace fusedstep::bindings
