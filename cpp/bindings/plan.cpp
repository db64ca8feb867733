#include "plan.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "answer.hpp"
#include "cut.hpp"
#include "options.hpp"
#include "released.hpp"

namespace fusedstep::bindings {

Plan::Plan(std::string optimizer, std::string method, py::list groups, const py::dict& storage, uint64_t seed,
           bool entry_per_group)
    : method_(std::move(method)),
      groups_(std::move(groups)),
      roster_(std::move(optimizer), {"params", "grads"}, storage, entry_per_group, false) {
    roster_.plan.seed = seed;
}

Plan::Alone::Alone(Plan& plan) : busy_(plan.busy_, plan.roster_.optimizer), pass_(plan.holder_) {
    plan.engine_.refuse_graph();
}

/// Marks the plan as in use, unless this thread has it already.
std::optional<Busy> Plan::enter() {
    if (holder_.load() == std::this_thread::get_id()) return std::nullopt;
    return std::optional<Busy>(std::in_place, busy_, roster_.optimizer);
}

std::vector<std::string> Plan::add(const py::object& params, const std::string& place, const py::dict& options,
                                   const py::function& provide, const py::dict& extents, bool of_copy) {
    const std::optional<Busy> busy = enter();
    engine_.fetch();
    std::vector<Leaf> leaves;
    Structure structure =
        Structure::of(params, roster_.entries().size(), {roster_.optimizer, roster_.params, place}, leaves);
    Group group = read_group(method_, options);
    std::vector<Roster::Entry> added = roster_.checked(leaves, place, extents, of_copy);
    std::vector<std::string> names;
    for (const Roster::Entry& entry : added) names.push_back(entry.name);
    roster_.furnish(added, place, group, Roster::ask(provide));
    watches_.emplace_back(options);
    {
        const auto held = engine_.hold();
        roster_.enroll(std::move(group), std::move(structure), std::move(added));
        engine_.start();
    }
    ++version;
    groups_.append(options);
    return names;
}

/// Nothing is allocated here: there may be no memory.
void Plan::shorten(size_t groups) {
    const bool all = roster_.first_of(groups) == 0;
    {
        const auto held = engine_.hold();
        if (roster_.cut_plan(groups) && !all) engine_.recount();  // the others were fetched when these were added
    }
    if (all) engine_.leave_device();
    roster_.cut_entries(groups);
    cut(watches_, groups);
}

void Plan::refresh(const std::vector<size_t>& groups, const py::function& provide) {
    const std::optional<Busy> busy = enter();
    std::vector<Watch> watches;
    std::vector<Roster::Renewal> all;
    for (const size_t index : groups) {
        const py::dict options = groups_[index];
        watches.emplace_back(options);  // and not later: what changes meanwhile is another change
        all.push_back(roster_.renewal(index, read_group(method_, options), Roster::ask(provide)));
    }
    // First: where there is no memory for the rest, the dicts are put back, which is a change then.
    for (size_t i = 0; i < groups.size(); ++i) std::swap(watches_[groups[i]], watches[i]);
    roster_.renew(all, engine_.has_captured());
}

void Plan::settle(const py::object& owner) {
    const auto count = size_t(PyList_GET_SIZE(groups_.ptr()));
    if (count != watches_.size())
        throw py::value_error(roster_.optimizer + ": param_groups must keep its " + std::to_string(watches_.size()) +
                              " groups (add() adds one), got " + std::to_string(count));
    std::vector<size_t> changed;
    std::vector<std::pair<size_t, py::object>> rates;
    for (size_t i = 0; i < count; ++i) {
        const py::handle group = PyList_GET_ITEM(groups_.ptr(), py::ssize_t(i));
        const Watch::Change change = watches_[i].change(group);
        if (change.any) changed.push_back(i);
        if (change.rate) rates.emplace_back(i, change.rate);
    }
    if (!changed.empty()) {
        const Pass pass(holder_);
        const py::object refresh = owner.attr("_refresh");
        call_python(refresh, py::make_tuple(changed));
    }
    for (const auto& [group, lr] : rates) {
        roster_.plan.groups[group].lr = PyFloat_AS_DOUBLE(lr.ptr());
        watches_[group].see_rate(lr);
    }
}

void Plan::call_schedules() {
    const bool called =
        std::any_of(watches_.begin(), watches_.end(), [](const Watch& group) { return bool(group.schedule()); });
    if (!called) return;
    if (engine_.is_capturing())
        throw std::runtime_error(roster_.optimizer +
                                 ": lr must be a number in a step that is captured, got a schedule");
    engine_.catch_up(true);
    for (size_t i = 0; i < watches_.size(); ++i)
        if (watches_[i].schedule()) roster_.plan.groups[i].lr = rate(i, engine_.calls());
}

double Plan::rate(size_t group, int64_t step) const {
    const py::object schedule = watches_.at(group).schedule();  // its call may take over another
    if (!schedule) return roster_.plan.groups[group].lr;
    const py::object given = call_python(schedule, py::make_tuple(step));
    const bool number = PyNumber_Check(given.ptr()) && !PyBool_Check(given.ptr());
    const double lr = number ? PyFloat_AsDouble(given.ptr()) : -1;
    forget_error();
    if (!std::isfinite(lr) || lr < 0)
        throw py::value_error(roster_.optimizer +
                              ": lr must be a schedule of finite numbers that are not negative, got " +
                              py::repr(given).cast<std::string>() + " at step " + std::to_string(step));
    return lr;
}

void Plan::take_changes(const py::object& owner) {
    const std::optional<Busy> busy = enter();
    engine_.refuse_graph();
    settle(owner);
}

std::vector<Companion> Plan::companions_with(const std::string& name, const py::dict& options) const {
    return roster_.companions_with(name, read_group(method_, options));
}

int64_t Plan::get_step(const std::string& name) {
    engine_.catch_up();
    return roster_.tensor(name).step;
}
void Plan::set_step(const std::string& name, int64_t step) {
    engine_.fetch();
    Tensor& tensor = roster_.tensor(name);
    const auto held = engine_.hold();
    tensor.step = step;
    engine_.recount();
}

int64_t Plan::get_calls() {
    engine_.catch_up();
    return engine_.calls();
}
int64_t Plan::get_skipped() {
    engine_.catch_up();
    return engine_.skipped();
}
py::tuple Plan::outcome() {
    engine_.fetch();
    const Outcome& last = engine_.last();
    return py::make_tuple(last.norm, last.factor, last.skipped);
}

void Plan::forget() {
    watches_.clear();
    groups_ = py::list();
    intake_.let_go();
    roster_.forget();
    engine_.leave_device();
    ++version;
}

}  // namespace fusedstep::bindings
