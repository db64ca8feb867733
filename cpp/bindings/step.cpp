// The life of a step: what it is given is taken, changed options taken over, schedules called, and the work is run.
#include "../cpu/step.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "answer.hpp"
#include "at_end.hpp"
#include "cuda.hpp"
#include "plan.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

/// Below this, a step is over before another thread could use the interpreter.
constexpr int64_t worth_releasing = 32768;

}  // namespace

/// Lets go of the gradients that a step has taken.
void Plan::let_go() {
    plan_.bound = 0;
    for (Tensor& tensor : plan_.tensors) {
        tensor.buffers.grad = nullptr;
        tensor.cargo.copy = nullptr;
    }
    held_.clear();
    numbers_.clear();
    plan_.stages = {};
}

Plan::Alone::Alone(Plan& plan) : busy_(plan.busy_, plan.optimizer_), pass_(plan.holder_) { plan.refuse_graph(); }

/// Marks the plan as in use, unless this thread has it already.
std::optional<Busy> Plan::enter() {
    if (holder_.load() == std::this_thread::get_id()) return std::nullopt;
    return std::optional<Busy>(std::in_place, busy_, optimizer_);
}

void Plan::settle(const py::object& owner) {
    const auto count = size_t(PyList_GET_SIZE(groups_.ptr()));
    if (count != options_.size())
        throw py::value_error(optimizer_ + ": param_groups must keep its " + std::to_string(options_.size()) +
                              " groups (add() adds one), got " + std::to_string(count));
    std::vector<size_t> changed;
    std::vector<std::pair<size_t, py::object>> rates;
    for (size_t i = 0; i < count; ++i) {
        const py::handle group = PyList_GET_ITEM(groups_.ptr(), py::ssize_t(i));
        const Watch::Change change = options_[i].watch.change(group);
        if (change.any) changed.push_back(i);
        if (change.rate) rates.emplace_back(i, change.rate);
    }
    if (!changed.empty()) {
        const Pass pass(holder_);
        const py::object refresh = owner.attr("_refresh");
        call_python(refresh, py::make_tuple(changed));
    }
    for (const auto& [group, lr] : rates) {
        plan_.groups[group].lr = PyFloat_AS_DOUBLE(lr.ptr());
        options_[group].watch.see_rate(lr);
    }
}

void Plan::call_schedules() {
    const bool called = std::any_of(options_.begin(), options_.end(),
                                    [](const Options& group) { return bool(group.watch.schedule()); });
    if (called && stepper_ && is_captured(entries_.front().param))
        throw std::runtime_error(optimizer_ + ": lr must be a number in a step that is captured, got a schedule");
    if (called && stepper_ && stepper_->uncertain()) fetch(own_stream());  // which is behind the step before
    for (size_t i = 0; i < options_.size(); ++i)
        if (options_[i].watch.schedule()) plan_.groups[i].lr = rate(i, calls_);
}

double Plan::rate(size_t group, int64_t step) const {
    const py::object schedule = options_.at(group).watch.schedule();  // its call may take over another
    if (!schedule) return plan_.groups[group].lr;
    const py::object given = call_python(schedule, py::make_tuple(step));
    const bool number = PyNumber_Check(given.ptr()) && !PyBool_Check(given.ptr());
    const double lr = number ? PyFloat_AsDouble(given.ptr()) : -1;
    forget_error();
    if (!std::isfinite(lr) || lr < 0)
        throw py::value_error(optimizer_ + ": lr must be a schedule of finite numbers that are not negative, got " +
                              py::repr(given).cast<std::string>() + " at step " + std::to_string(step));
    return lr;
}

/// Brings what a device has counted.
void Plan::fetch(std::optional<void*> last) {
    if (!stepper_) return;
    refuse_graph();
    Outcome outcome;
    {
        const Released released;
        const std::lock_guard lock(stepping_);
        const Progress progress = stepper_->fetch(plan_, last);
        calls_ += progress.calls - unfetched_;
        skipped_ += progress.skipped;
        unfetched_ = 0;
        outcome = plan_.outcome;
    }
    outcome_ = outcome;
}

void Plan::leave_device() {
    if (!stepper_) return;
    const Released released;
    stepper_.reset();
}

int64_t Plan::get_calls() {
    if (stepper_ && stepper_->uncertain()) fetch();
    return calls_;
}
void Plan::set_calls(int64_t calls) {
    fetch();
    const std::lock_guard lock(stepping_);
    calls_ = calls;
}
int64_t Plan::get_skipped() {
    if (stepper_ && stepper_->uncertain()) fetch();
    return skipped_;
}
void Plan::set_skipped(int64_t skipped) {
    fetch();
    const std::lock_guard lock(stepping_);
    skipped_ = skipped;
}

/// The stream of a step on a device. To ask for it runs Python.
void* Plan::own_stream() const { return stepper_ ? current_stream(entries_.front().param) : nullptr; }

void Plan::put_rates(const py::object& owner) {
    const Busy busy(busy_, optimizer_);
    settle(owner);
    call_schedules();
    if (!stepper_) return;
    void* const stream = own_stream();
    const Released released;
    const std::lock_guard lock(stepping_);
    stepper_->put_rates(plan_, stream);
}

void Plan::displace(const py::object& owner, const std::string& state, const py::dict& aheads) {
    const Busy busy(busy_, optimizer_);
    settle(owner);
    call_schedules();
    std::vector<Ahead> all;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Entry& entry = entries_[i];
        check_places(i);
        const auto [factor, rated, given] = aheads[py::str(entry.name)].cast<std::tuple<double, bool, py::object>>();
        const py::array array = check_copy(given, entry.layout, where(lookahead_, i), where(params_, i));
        Ahead ahead{const_cast<void*>(array.data()), factor, rated, -1};
        int place = 0;
        for (const auto& [one, kept] : entry.states) {
            if (one.role != Companion::state || one.kind != Companion::like_param) continue;
            if (one.name == state) ahead.state = place;
            ++place;
        }
        all.push_back(ahead);
    }
    if (all.empty()) return;
    void* const stream = own_stream();
    const Released released;
    const std::lock_guard lock(stepping_);
    stepper_->displace(plan_, all, stream);
}

/// Puts the step into the caller's stream; only to raise does it wait.
void Plan::run_cuda(void* stream) {
    const bool raises = plan_.stages.on_nonfinite == Stages::raise;
    Stepper::Result result;
    Outcome outcome;
    {
        const Released released;
        const std::lock_guard lock(stepping_);
        result = stepper_->step(plan_, stream);
        outcome = plan_.outcome;
        const bool counted = result.verdict == Stepper::underway;
        calls_ += !result.captured && result.verdict != Stepper::skipped;
        unfetched_ += !result.captured && counted;
    }
    if (result.captured) return;
    outcome_ = outcome;
    if (result.verdict == Stepper::skipped) return refuse_step(outcome_.norm, raises);
    if (!raises || result.verdict == Stepper::happened || !plan_.stages.pending()) return;
    fetch(stream);
    if (!outcome_.skipped) return;
    --skipped_;  // the device has counted what is an error here
    refuse_step(outcome_.norm, true);
}

void Plan::run(void* stream) {
    if (stepper_) return run_cuda(stream);
    int64_t total = 0;
    for (const Tensor& tensor : plan_.tensors)
        if (tensor.buffers.grad) total += tensor.size;
    bool happened;
    if (total < worth_releasing) {
        happened = cpu::step(plan_);
    } else {
        const Released released;
        happened = cpu::step(plan_);
    }
    outcome_ = plan_.outcome;
    if (happened)
        ++calls_;
    else
        refuse_step(outcome_.norm, plan_.stages.on_nonfinite == Stages::raise);
}

/// A step that its stages do not let happen is counted or raised.
void Plan::refuse_step(double norm, bool raises) {
    if (!raises) {
        ++skipped_;
        return;
    }
    PyErr_Format(PyExc_FloatingPointError, "%s: grads must be finite with on_nonfinite='raise', got a norm of %s",
                 optimizer_.c_str(), std::to_string(norm).c_str());
    throw py::error_already_set();
}

void Plan::step(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, optimizer_);
    const AtEnd taken([&] { let_go(); });
    take_all(grads, stages, false);
    settle(owner);
    call_schedules();
    void* const stream = own_stream();
    check_places();
    run(stream);
}

Plan::Bound Plan::bind(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, optimizer_);
    const AtEnd taken([&] { let_go(); });
    take_all(grads, stages, true);
    settle(owner);
    check_places();
    Bound bound{version, ++bounds_, {}, {}, {}, plan_.stages};
    const auto keep = [&](std::string_view argument, std::optional<size_t> tensor, const py::object& array) {
        if (!array) return;
        bound.arrays.push_back(array);
        if (const std::optional<Movable> movable = Movable::of(array))
            bound.places.push_back({argument, tensor, *movable});
    };
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        bound.tensors.push_back(
            {tensor.buffers.grad, tensor.cargo.grad.type, tensor.cargo.copy, tensor.cargo.copy_type});
        keep(grads_, i, held_[i].grad);
        keep(copy_to_, i, held_[i].copy);
    }
    for (const auto& [argument, array] : numbers_) keep(argument, {}, array);
    return bound;
}

void Plan::check_bound(const Bound& bound) const {
    if (version != bound.version)
        throw std::runtime_error(
            optimizer_ +
            ": bound gradients must be bound again after parameters were added or state was loaded, "
            "got ones from before");
}

/// What is bound stays in place behind its step, for the next: nobody looks at it in between, and whoever comes with
/// something else lets it go first.
void Plan::put_in_place(const Bound& bound) {
    if (plan_.bound == bound.number) return;
    let_go();
    for (size_t i = 0; i < bound.tensors.size(); ++i) {
        const Bound::Arrays& arrays = bound.tensors[i];
        Tensor& tensor = plan_.tensors[i];
        tensor.buffers.grad = arrays.grad;
        tensor.cargo.grad.type = arrays.grad_type;
        tensor.cargo.copy = arrays.copy;
        tensor.cargo.copy_type = arrays.copy_type;
    }
    plan_.bound = bound.number;
}

void Plan::step_bound(const py::object& owner, const Bound& bound) {
    const Busy busy(busy_, optimizer_);
    check_bound(bound);
    put_in_place(bound);
    const AtEnd staged([&] { plan_.stages = {}; });
    plan_.stages = bound.stages;
    settle(owner);
    call_schedules();
    void* const stream = own_stream();
    for (const auto& [argument, tensor, movable] : bound.places)
        if (movable.has_moved()) refuse_move((tensor ? where(argument, *tensor) : Where{optimizer_, argument}).text());
    check_places();
    run(stream);
}

void Plan::lend(const py::object& owner, const py::object& grads, const py::object& stages, const py::function& run) {
    const Busy busy(busy_, optimizer_);
    const AtEnd taken([&] { let_go(); });
    if (stepper_)
        throw py::type_error(optimizer_ + ": the reference needs arrays in the memory of the processor, got ones on " +
                             name_of(entries_.front().layout.device));
    take_all(grads, stages, true);
    settle(owner);
    call_schedules();
    check_places();
    py::list work;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        const py::object &grad = held_[i].grad, &copy = held_[i].copy;
        if (!grad) continue;
        work.append(py::make_tuple(entries_[i].name, tensor.group, tensor.step + 1,
                                   plan_.groups[size_t(tensor.group)].lr, grad, copy ? copy : py::none()));
    }
    call_python(run, py::make_tuple(work));
}

void Plan::advance(const std::vector<std::string>& names, double norm, double factor) {
    for (const std::string& name : names) ++plan_.tensors[find(name)].step;
    outcome_ = {norm, factor, false};
    ++calls_;
}

void Plan::skip(double norm, bool raises) {
    outcome_ = {norm, 1, true};
    refuse_step(norm, raises);
}

py::tuple Plan::outcome() {
    fetch();
    return py::make_tuple(outcome_.norm, outcome_.factor, outcome_.skipped);
}

void Plan::take_changes(const py::object& owner) {
    const std::optional<Busy> busy = enter();
    refuse_graph();
    settle(owner);
}

/// Throws where the device must not be waited for.
void Plan::refuse_graph() const {
    if (stepper_) refuse_capture(entries_.front().param, optimizer_);
}

}  // namespace fusedstep::bindings
