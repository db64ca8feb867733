// The life of a step: gradients are matched, changed options taken over, schedules called, and the work is run.
#include "cpu/step.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "cuda.hpp"
#include "plan.hpp"
#include "released.hpp"
#include "stages.hpp"
#include "torch.hpp"

namespace fusedstep::bindings {
namespace {

/// Below this, a step is over before another thread could use the interpreter.
constexpr int64_t worth_releasing = 32768;

const std::string nowhere;

}  // namespace

/// Gradients that a step has taken: let go at its end, however it ends.
class Plan::Taken {
public:
    explicit Taken(Plan& plan) : plan_(&plan) { let_go(); }
    ~Taken() { let_go(); }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

private:
    void let_go() {
        for (Tensor& tensor : plan_->plan_.tensors) {
            tensor.buffers.grad = nullptr;
            tensor.cargo.copy = nullptr;
        }
        plan_->held_.clear();
        plan_->copies_.clear();
        plan_->numbers_.clear();
        plan_->plan_.stages = {};
    }

    Plan* plan_;
};

/// A flag that is up for a scope.
struct Plan::Flag {
    bool& flag;
    explicit Flag(bool& raised) : flag(raised) { flag = true; }
    ~Flag() { flag = false; }
};

void Plan::settle(const py::object& owner) {
    const auto count = size_t(PyList_GET_SIZE(groups_.ptr()));
    if (count != options_.size())
        throw py::value_error(optimizer_ + ": param_groups must keep its " + std::to_string(options_.size()) +
                              " groups (add() adds one), got " + std::to_string(count));
    std::vector<size_t> changed;
    for (size_t i = 0; i < count; ++i)
        if (!options_[i].watch.unchanged(PyList_GET_ITEM(groups_.ptr(), py::ssize_t(i)))) changed.push_back(i);
    if (changed.empty()) return;
    const Flag settling(settling_);
    owner.attr("_refresh")(changed);
}

/// A step on memory that its tensors have left would be lost.
void Plan::check_places(size_t tensor) const {
    const Entry& entry = entries_[tensor];
    for (const auto& [number, given] : entry.movable) {
        if (!has_moved(*given)) continue;
        if (number == 0) refuse_move(where(params_, tensor).text());
        const std::string path = "['" + entry.name + "']['" + entry.states[number - 1].first + "']";
        refuse_move(Where{optimizer_, state_, place_of(0), path}.text());
    }
}

/// `quickly`: of a tensor its memory is held, not an array that describes it.
void Plan::take(size_t tensor, py::handle grad, bool quickly) {
    if (grad.is_none()) return;
    Entry& entry = entries_[tensor];
    Tensor& target = plan_.tensors[tensor];
    if (!entry.movable.empty()) check_places(tensor);
    const auto keep_out = [&](const void* data, int64_t bytes) {
        if (data == entry.last_grad && bytes <= entry.last_bytes) return;
        territory_.keep_out(data, bytes, where(grads_, tensor));
        entry.last_grad = data;
        entry.last_bytes = bytes;
    };
    const bool own = !stepper_ && fits(grad, entry.layout);
    if (quickly && !own)
        if (const std::optional<Seen> seen = see_tensor(grad, entry.layout)) {
            keep_out(seen->data, entry.layout.size * size_of(seen->type));
            target.buffers.grad = seen->data;
            target.cargo.grad.type = seen->type;
            held_.push_back(seen->storage);
            return;
        }
    py::array array = own ? py::reinterpret_borrow<py::array>(grad)
                          : check_grad(grad, entry.layout, where(grads_, tensor), where(params_, tensor));
    target.cargo.grad.type = own ? entry.layout.type : type_of(array);
    keep_out(array.data(), array.nbytes());
    static const char nothing = 0;  // an empty array may have no address, and still takes part
    target.buffers.grad = array.size() ? array.data() : &nothing;
    held_.push_back(std::move(array));
}

void Plan::take_copy(size_t tensor, py::handle given) {
    if (given.is_none()) return;
    py::array array = check_copy(given, entries_[tensor].layout, where(copy_to_, tensor), where(params_, tensor));
    territory_.keep_out(array, where(copy_to_, tensor));
    if (array.size() == 0) return;
    Cargo& cargo = plan_.tensors[tensor].cargo;
    cargo.copy = array.mutable_data();
    cargo.copy_type = type_of(array);
    copies_.push_back(std::move(array));
}

/// Where a stage's number lies that is an array on the device; nowhere where it is one of Python's.
Live Plan::take_number(const py::dict& stages, const std::string& argument) {
    const py::object given = stages[py::str(argument)];
    if (given.is_none() || PyFloat_Check(given.ptr())) return {};
    py::array array = check_number(given, entries_.front().layout.device, {optimizer_, argument, nowhere, nowhere},
                                   where(params_, 0));
    const Live live{array.data(), type_of(array)};
    numbers_.push_back({&argument, std::move(array)});
    return live;
}

/// Calls take(tensor, leaf) for the leaves of a tree that mirrors the parameters.
template <class Take>
void Plan::match(const py::object& tree, const std::string& argument, Take take) {
    const auto one = [&](size_t group, py::handle entry) {
        const Options& options = options_[group];
        options.structure.match(entry, optimizer_, argument, place_of(group),
                                [&](size_t leaf, py::handle array) { take(options.first + leaf, array); });
    };
    if (options_.size() == 1 && !entry_per_group_) return one(0, tree);
    if (!PyList_Check(tree.ptr()) && !PyTuple_Check(tree.ptr()))
        throw py::type_error(optimizer_ + ": " + argument + " must be a list with one entry for each group, got " +
                             Py_TYPE(tree.ptr())->tp_name);
    if (py::len(tree) != options_.size())
        throw py::value_error(optimizer_ + ": " + argument + " must have " + std::to_string(options_.size()) +
                              " entries, one for each group, got " + std::to_string(py::len(tree)));
    const py::sequence entries = py::reinterpret_borrow<py::sequence>(tree);
    for (size_t i = 0; i < options_.size(); ++i) one(i, entries[i]);
}

/// The gradients and the stages of a step. `described`: each gradient is wanted as an array.
void Plan::take_all(const py::object& grads, const py::object& given, bool described) {
    const py::dict dict = given.is_none() ? py::dict() : py::reinterpret_borrow<py::dict>(given);
    if (!given.is_none()) plan_.stages = read_stages(dict);
    plan_.stages.flush_denormals = flush_denormals_;
    described |= plan_.stages.zero_grad || (!given.is_none() && !dict["copy_to"].is_none());
    match(grads, grads_, [&](size_t tensor, py::handle grad) { take(tensor, grad, !described); });
    if (given.is_none()) return;
    plan_.stages.live_scale = take_number(dict, grad_scale_);
    plan_.stages.live_norm = take_number(dict, norm_);
    const py::object copies = dict["copy_to"];
    if (!copies.is_none())
        match(copies, copy_to_, [this](size_t tensor, py::handle array) { take_copy(tensor, array); });
    if (plan_.stages.zero_grad || !copies_.empty()) keep_apart(plan_.stages.zero_grad);
}

/// What a step writes besides parameters and state must not overlap anything else that it reads or writes.
void Plan::keep_apart(bool zero_grad) {
    std::vector<Span> written;
    size_t grad = 0, copy = 0;
    Territory territory;
    for (size_t i = 0; i < entries_.size(); ++i) {
        if (plan_.tensors[i].cargo.copy) written.push_back(span_of(copies_[copy++], where(copy_to_, i)));
        if (!plan_.tensors[i].buffers.grad || !zero_grad) continue;
        const py::array array = held_[grad++];
        check_written(array, where(grads_, i));
        written.push_back(span_of(array, where(grads_, i)));
    }
    territory.claim(std::move(written), optimizer_);
    if (zero_grad) return;
    for (size_t i = 0; i < entries_.size(); ++i)
        if (plan_.tensors[i].buffers.grad) territory.keep_out(held_[grad++], where(grads_, i));
}

void Plan::call_schedules() {
    const bool called = std::any_of(options_.begin(), options_.end(),
                                    [](const Options& group) { return bool(group.watch.schedule()); });
    if (called && stepper_ && stepper_->capturing(current_stream(entries_.front().param)))
        throw std::runtime_error(optimizer_ + ": lr must be a number in a step that is captured, got a schedule");
    if (called) get_calls();
    for (size_t i = 0; i < options_.size(); ++i) {
        if (!options_[i].watch.schedule()) continue;
        const py::object given = options_[i].watch.schedule()(calls_);
        const bool number = PyNumber_Check(given.ptr()) && !PyBool_Check(given.ptr());
        const double lr = number ? PyFloat_AsDouble(given.ptr()) : -1;
        PyErr_Clear();
        if (!std::isfinite(lr) || lr < 0)
            throw py::value_error(optimizer_ + ": lr must be a schedule of finite numbers that are not negative, got " +
                                  py::repr(given).cast<std::string>() + " at step " + std::to_string(calls_));
        plan_.groups[i].lr = lr;
    }
}

/// Brings what a device has counted.
void Plan::fetch() {
    if (!stepper_) return;
    const Released released;
    const std::lock_guard lock(stepping_);
    const Outcome known = plan_.outcome;
    const Progress progress = stepper_->fetch(plan_);
    calls_ += progress.calls - unfetched_;
    skipped_ += progress.skipped;
    unfetched_ = 0;
    if (!outcome_on_device_) plan_.outcome = known;
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

void Plan::put_rates(const py::object& owner) {
    const Busy busy(busy_, optimizer_);
    settle(owner);
    call_schedules();
    if (stepper_) stepper_->put_rates(plan_, current_stream(entries_.front().param));
}

void Plan::displace(const std::string& state, const py::dict& aheads) {
    const Busy busy(busy_, optimizer_);
    std::vector<Ahead> all;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Entry& entry = entries_[i];
        check_places(i);
        const auto [factor, given] = aheads[py::str(entry.name)].cast<std::pair<double, py::object>>();
        const py::array array = check_copy(given, entry.layout, where(lookahead_, i), where(params_, i));
        Ahead ahead{const_cast<void*>(array.data()), factor, -1};
        int place = 0;
        for (const Companion& one : companions(entry.name)) {
            if (one.role != Companion::state || one.kind != Companion::like_param) continue;
            if (one.name == state) ahead.state = place;
            ++place;
        }
        all.push_back(ahead);
    }
    if (all.empty()) return;
    void* const stream = current_stream(entries_.front().param);
    const Released released;
    const std::lock_guard lock(stepping_);
    stepper_->displace(plan_, all, stream);
}

/// Puts the step into the caller's stream; only to raise does it wait.
void Plan::run_cuda() {
    void* const stream = current_stream(entries_.front().param);
    const bool captured = stepper_->capturing(stream), raises = plan_.stages.on_nonfinite == Stages::raise;
    Stepper::Verdict verdict;
    {
        const Released released;
        const std::lock_guard lock(stepping_);
        verdict = stepper_->step(plan_, stream);
        const bool counted = verdict == Stepper::underway;
        outcome_on_device_ = counted || (captured && outcome_on_device_);
        calls_ += !captured && verdict != Stepper::skipped;
        unfetched_ += !captured && counted;
    }
    if (captured) return;
    if (verdict == Stepper::skipped) return refuse_step(plan_.outcome.norm, raises);
    if (!raises || !outcome_on_device_ || !plan_.stages.pending()) return;
    fetch();
    if (!plan_.outcome.skipped) return;
    --skipped_;  // the device has counted what is an error here
    refuse_step(plan_.outcome.norm, true);
}

void Plan::run() {
    if (stepper_) return run_cuda();
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
    if (happened)
        ++calls_;
    else
        refuse_step(plan_.outcome.norm, plan_.stages.on_nonfinite == Stages::raise);
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
    const Taken taken(*this);
    take_all(grads, stages, false);
    settle(owner);
    call_schedules();
    run();
}

Plan::Bound Plan::bind(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, optimizer_);
    const Taken taken(*this);
    take_all(grads, stages, true);
    settle(owner);
    Bound bound{version, held_, numbers_, {}, {}, plan_.stages};
    bound.arrays.insert(bound.arrays.end(), copies_.begin(), copies_.end());
    size_t grad = 0;
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        bound.tensors.push_back(
            {tensor.buffers.grad, tensor.cargo.grad.type, tensor.cargo.copy, tensor.cargo.copy_type});
        if (!tensor.buffers.grad) continue;
        if (const Given* const given = movable(held_[grad++])) bound.movable.emplace_back(i, given);
    }
    return bound;
}

void Plan::check_bound(const Bound& bound) const {
    if (version != bound.version)
        throw std::runtime_error(
            optimizer_ +
            ": bound gradients must be bound again after parameters were added or state was loaded, "
            "got ones from before");
}

void Plan::step_bound(const py::object& owner, const Bound& bound) {
    const Busy busy(busy_, optimizer_);
    const Taken taken(*this);
    check_bound(bound);
    plan_.stages = bound.stages;
    for (const auto& [tensor, given] : bound.movable)
        if (has_moved(*given)) refuse_move(where(grads_, tensor).text());
    for (size_t i = 0; i < bound.tensors.size(); ++i) {
        const Bound::Arrays& arrays = bound.tensors[i];
        Tensor& tensor = plan_.tensors[i];
        if (arrays.grad) check_places(i);
        tensor.buffers.grad = arrays.grad;
        tensor.cargo.grad.type = arrays.grad_type;
        tensor.cargo.copy = arrays.copy;
        tensor.cargo.copy_type = arrays.copy_type;
    }
    for (const auto& [argument, array] : bound.numbers)
        if (const Given* const given = movable(array); given && has_moved(*given))
            refuse_move(optimizer_ + ": " + *argument);
    settle(owner);
    call_schedules();
    run();
}

py::list Plan::prepare(const py::object& owner, const py::object& grads, const py::object& stages) {
    const Busy busy(busy_, optimizer_);
    const Taken taken(*this);
    if (stepper_)
        throw py::type_error(optimizer_ + ": the reference needs arrays in the memory of the processor, got ones on " +
                             name_of(entries_.front().layout.device));
    take_all(grads, stages, true);
    settle(owner);
    call_schedules();
    py::list work;
    size_t grad = 0, copy = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        const py::object to = tensor.cargo.copy ? copies_[copy++] : py::none();
        if (!tensor.buffers.grad) continue;
        work.append(py::make_tuple(entries_[i].name, tensor.group, tensor.step + 1,
                                   plan_.groups[size_t(tensor.group)].lr, held_[grad++], to));
    }
    return work;
}

void Plan::advance(const std::vector<std::string>& names, double norm, double factor) {
    for (const std::string& name : names) ++plan_.tensors[find(name)].step;
    plan_.outcome = {norm, factor, false};
    ++calls_;
}

void Plan::skip(double norm, bool raises) {
    plan_.outcome = {norm, 1, true};
    refuse_step(norm, raises);
}

py::tuple Plan::outcome() {
    fetch();
    return py::make_tuple(plan_.outcome.norm, plan_.outcome.factor, plan_.outcome.skipped);
}

void Plan::take_changes(const py::object& owner) {
    const Busy busy(busy_, optimizer_);
    settle(owner);
}

void Plan::check_idle() { const Busy busy(busy_, optimizer_); }

}  // namespace fusedstep::bindings
