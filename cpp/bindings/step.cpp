// The life of a step: what it is given is taken, changed options taken over, schedules called, and the work is run.
#include <tuple>
#include <vector>

#include "at_end.hpp"
#include "plan.hpp"
#include "released.hpp"

namespace fusedstep::bindings {

void Plan::step(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, roster_.optimizer);
    const AtEnd taken([&] { intake_.let_go(); });
    intake_.take(grads, stages, false);
    settle(owner);
    call_schedules();
    void* const stream = engine_.stream();
    roster_.check_places();
    engine_.run(stream);
}

Binding Plan::bind(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, roster_.optimizer);
    const AtEnd taken([&] { intake_.let_go(); });
    intake_.take(grads, stages, true);
    settle(owner);
    roster_.check_places();
    return intake_.bind(version);
}

void Plan::check_bound(const Binding& bound) const {
    if (version != bound.version)
        throw std::runtime_error(
            roster_.optimizer +
            ": bound gradients must be bound again after parameters were added or state was loaded, "
            "got ones from before");
}

void Plan::step_bound(const py::object& owner, const Binding& bound) {
    const Busy busy(busy_, roster_.optimizer);
    check_bound(bound);
    intake_.put(bound);
    Stages& stages = roster_.plan.stages;
    const AtEnd staged([&] { stages = {}; });
    stages = bound.stages;
    settle(owner);
    call_schedules();
    void* const stream = engine_.stream();
    intake_.check_places(bound);
    roster_.check_places();
    engine_.run(stream);
}

void Plan::lend(const py::object& owner, const py::object& grads, const py::object& stages, const py::function& run) {
    const Busy busy(busy_, roster_.optimizer);
    const AtEnd taken([&] { intake_.let_go(); });
    if (engine_.on_device())
        throw py::type_error(roster_.optimizer +
                             ": the reference needs arrays in the memory of the processor, got ones on " +
                             name_of(roster_.entries().front().layout.device));
    intake_.take(grads, stages, true);
    settle(owner);
    call_schedules();
    roster_.check_places();
    py::list work;
    for (size_t i = 0; i < roster_.entries().size(); ++i) {
        const Tensor& tensor = roster_.plan.tensors[i];
        const py::object &grad = intake_.grad(i), &copy = intake_.copy(i);
        if (!grad) continue;
        work.append(py::make_tuple(roster_.entries()[i].name, tensor.group, tensor.step + 1,
                                   roster_.plan.groups[size_t(tensor.group)].lr, grad, copy ? copy : py::none()));
    }
    call_python(run, py::make_tuple(work));
}

void Plan::advance(const std::vector<std::string>& names, double norm, double factor) {
    for (const std::string& name : names) ++roster_.tensor(name).step;
    engine_.advance(norm, factor);
}

void Plan::put_rates(const py::object& owner) {
    const Busy busy(busy_, roster_.optimizer);
    settle(owner);
    call_schedules();
    engine_.put_rates(engine_.stream());
}

void Plan::displace(const py::object& owner, const std::string& state, const py::dict& aheads) {
    const Busy busy(busy_, roster_.optimizer);
    settle(owner);
    call_schedules();
    std::vector<Ahead> all;
    for (size_t i = 0; i < roster_.entries().size(); ++i) {
        const Roster::Entry& entry = roster_.entries()[i];
        roster_.check_place(i);
        const auto [factor, rated, given] = aheads[py::str(entry.name)].cast<std::tuple<double, bool, py::object>>();
        const py::array array =
            check_copy(given, entry.layout, roster_.where("lookahead", i), roster_.where(roster_.params, i));
        Ahead ahead{const_cast<void*>(array.data()), factor, rated, -1};
        int place = 0;
        for (const auto& [one, kept] : entry.states) {
            if (one.role != Companion::state || one.kind != Companion::like_param) continue;
            if (one.name == state) ahead.state = place;
            ++place;
        }
        all.push_back(ahead);
    }
    if (!all.empty()) engine_.displace(all, engine_.stream());
}

}  // namespace fusedstep::bindings
