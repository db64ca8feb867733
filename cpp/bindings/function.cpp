// The step of a function: a plan keeps its options, and has its arrays for one call.
#include <pybind11/stl.h>

#include <algorithm>
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

/// The states that the options call for.
std::vector<py::object> Plan::in_order(const py::tuple& states) const {
    std::vector<py::object> made(arguments_.size());
    size_t count = 0;
    for (size_t i = 0; i < arguments_.size(); ++i) {
        const auto& [name, place] = arguments_[i];
        const py::object state = states[i];
        if (state.is_none() != (place < 0))
            throw py::type_error(optimizer_ + ": " + name + " must be " + (place < 0 ? "None" : "given") +
                                 " with these options, got " + type_name(state));
        if (place < 0) continue;
        made[size_t(place)] = state;
        ++count;
    }
    made.resize(count);
    return made;
}

/// The types of states as they come: one for all parameters, where it is not what these are calculated in.
void Plan::choose_types(const std::vector<Entry>& added, const std::vector<py::list>& given) {
    storage_.state.clear();
    size_t number = 0;
    for (const State& state : plan_.groups.front().states()) {
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

/// Makes arrays tensors of the plan, which has none.
void Plan::form(const py::object& param, const std::vector<py::object>& states) {
    Structure& structure = options_.front().structure;
    const Where where{optimizer_, params_};
    check_flat(param, where);
    std::vector<Leaf> leaves;
    structure = Structure::of(param, 0, where, leaves);
    std::vector<py::list> given(leaves.size());
    size_t number = 0;
    for (const State& state : plan_.groups.front().states())
        structure.match(states[number++], {optimizer_, state.name}, params_,
                        [&](size_t tensor, py::handle array) { given[tensor].append(array); });
    std::vector<Entry> added = checked(leaves, {}, {}, false);
    choose_types(added, given);
    move_to(added.empty() ? Device{} : added.front().layout.device);
    if (device_.kind == Device::cuda && is_captured(added.front().param))
        throw std::runtime_error(optimizer_ +
                                 ": param must not be updated by a function while a graph is captured (a bound step "
                                 "of an optimizer can be), got a stream that one is captured from");
    furnish(added, {}, plan_.groups.front(),
            [&](const Entry& entry, const std::vector<Companion>&) { return given[size_t(&entry - added.data())]; });
    enroll(std::move(added));
}

/// Arrays of NumPy's own that differ from those of the call before in their shapes alone take their places. False where
/// they differ in more, or something is wrong with them: what that is, form() tells.
bool Plan::take_places(const py::object& param, const std::vector<py::object>& states) try {
    const Structure& structure = options_.front().structure;
    if (entries_.empty() || !structure.is_like(param)) return false;
    const auto where = [&](const Entry& entry) { return Where{optimizer_, params_, {}, entry.path}; };
    bool alike = true;
    structure.match(param, {optimizer_, params_}, params_, [&](size_t tensor, py::handle array) {
        alike = alike && py::isinstance<py::array>(array);
        if (!alike) return;
        Entry& entry = entries_[tensor];
        entry.param = check_param(array, where(entry));  // which may run anything: its type is asked for behind that
        alike = py::detail::array_proxy(entry.param.ptr())->descr == entry.layout.dtype.ptr();
        entry.layout.reshape(entry.param);
        entry.extent = {0, entry.layout.size};
        entry.last_grad = nullptr;
    });
    for (size_t i = 0; alike && i < states.size(); ++i) {
        const auto take = [&](size_t tensor, py::handle array) {
            Entry& entry = entries_[tensor];
            auto& [companion, place] = entry.states[i];
            alike = alike && py::isinstance<py::array>(array) &&
                    (companion.kind != Companion::like_param ||
                     find_type(py::reinterpret_borrow<py::array>(array)) == companion.format.type);
            if (alike) place = check_companion(array, companion, entry, where(entry));
        };
        structure.match(states[i], {optimizer_, entries_.front().states[i].first.name}, params_, take);
    }
    if (!alike) return false;
    std::vector<Span> claims;
    for (size_t i = 0; i < entries_.size(); ++i) claim(claims, entries_[i], i);
    territory_.claim(std::move(claims), optimizer_, array_names());
    for (size_t i = 0; i < entries_.size(); ++i) seat(i);
    return true;
} catch (const py::builtin_exception&) {
    return false;
}

/// Lets go of arrays. Of those of the processor, all but the arrays is kept for a call with ones that are like them.
void Plan::vacate() {
    territory_ = {};
    if (device_.kind != Device::cpu) return disband();
    for (Entry& entry : entries_) {  // which nobody else has meanwhile, whatever the end of an array runs
        entry.movable.clear();
        for (auto& [companion, array] : entry.states) array.release().dec_ref();
        entry.param.release().dec_ref();
    }
}

/// Forgets tensors as well.
void Plan::disband() {
    const std::vector<Entry> last = std::exchange(entries_, {});  // whose end may run anything
    places_.clear();
    plan_.tensors.clear();
}

void Plan::call(const py::object& param, const py::object& grad, const py::tuple& given, int64_t step, double lr,
                uint64_t seed) {
    const Busy busy(busy_, optimizer_);
    const std::vector<py::object> states = in_order(given);
    const AtEnd lent([&] {
        let_go();
        vacate();
    });
    plan_.seed = seed;
    if (!take_places(param, states)) {
        disband();
        form(param, states);
    }
    for (Tensor& one : plan_.tensors) one.step = step - 1;
    plan_.groups.front().lr = lr;
    take_all(grad, py::none(), false);
    void* const stream = own_stream();
    check_places();
    run(stream);
}

}  // namespace fusedstep::bindings
