// The life of a step: gradients are matched, changed options taken over, schedules called, and the work is run.
#include "cpu/step.hpp"

#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "plan.hpp"

namespace fusedstep::bindings {
namespace {

/// Below this, a step is over before another thread could use the interpreter.
constexpr int64_t worth_releasing = 32768;

/// Lets other threads have the interpreter for a scope.
class Released {
public:
    Released() : thread_(PyEval_SaveThread()) {}
    ~Released() {
        try {
            PyEval_RestoreThread(thread_);
        } catch (...) {
            // The interpreter is ending, and ends its daemon threads by unwinding them. What would be unwound here are
            // owners of its objects, so this thread waits for the process to end.
            for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;

private:
    PyThreadState* thread_;
};

}  // namespace

/// Gradients that a step has taken: let go at its end, however it ends.
class Plan::Taken {
public:
    explicit Taken(Plan& plan) : plan_(&plan) { let_go(); }
    ~Taken() {
        if (plan_) let_go();
    }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

    void keep() { plan_ = nullptr; }

private:
    void let_go() {
        for (Tensor& tensor : plan_->plan_.tensors) tensor.buffers.grad = nullptr;
        plan_->held_.clear();
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

void Plan::take(size_t tensor, py::handle grad) {
    if (grad.is_none()) return;
    Entry& entry = entries_[tensor];
    py::array array = fits(grad, entry.layout)
                          ? py::reinterpret_borrow<py::array>(grad)
                          : check_like(grad, entry.layout, where(grads_, tensor), where(params_, tensor));
    if (array.data() != entry.last_grad) {
        territory_.keep_out(array, where(grads_, tensor));
        entry.last_grad = array.data();
    }
    static const char nothing = 0;  // an empty array may have no address, and still takes part
    plan_.tensors[tensor].buffers.grad = array.size() ? array.data() : &nothing;
    held_.push_back(std::move(array));
}

void Plan::match(const py::object& grads) {
    const auto one = [&](size_t group, py::handle entry) {
        const Options& options = options_[group];
        options.structure.match(entry, optimizer_, place_of(group),
                                [&](size_t leaf, py::handle grad) { take(options.first + leaf, grad); });
    };
    if (options_.size() == 1 && !entry_per_group_) return one(0, grads);
    if (!PyList_Check(grads.ptr()) && !PyTuple_Check(grads.ptr()))
        throw py::type_error(optimizer_ + ": grads must be a list with one entry for each group, got " +
                             Py_TYPE(grads.ptr())->tp_name);
    if (py::len(grads) != options_.size())
        throw py::value_error(optimizer_ + ": grads must have " + std::to_string(options_.size()) +
                              " entries, one for each group, got " + std::to_string(py::len(grads)));
    const py::sequence entries = py::reinterpret_borrow<py::sequence>(grads);
    for (size_t i = 0; i < options_.size(); ++i) one(i, entries[i]);
}

void Plan::call_schedules() {
    for (size_t i = 0; i < options_.size(); ++i) {
        if (!options_[i].watch.schedule()) continue;
        const py::object given = options_[i].watch.schedule()(calls);
        const bool number = PyNumber_Check(given.ptr()) && !PyBool_Check(given.ptr());
        const double lr = number ? PyFloat_AsDouble(given.ptr()) : -1;
        PyErr_Clear();
        if (!std::isfinite(lr) || lr < 0)
            throw py::value_error(optimizer_ + ": lr must be a schedule of finite numbers that are not negative, got " +
                                  py::repr(given).cast<std::string>() + " at step " + std::to_string(calls));
        plan_.groups[i].lr = lr;
    }
}

void Plan::run() {
    int64_t total = 0;
    for (const Tensor& tensor : plan_.tensors)
        if (tensor.buffers.grad) total += tensor.size;
    if (total < worth_releasing) {
        cpu::step(plan_);
    } else {
        const Released released;
        cpu::step(plan_);
    }
    ++calls;
}

void Plan::step(const py::object& owner, const py::object& grads) {
    const Busy busy(busy_, optimizer_);
    const Taken taken(*this);
    match(grads);
    settle(owner);
    call_schedules();
    run();
}

Plan::Bound Plan::bind(const py::object& owner, const py::object& grads) {
    const Busy busy(busy_, optimizer_);
    const Taken taken(*this);
    match(grads);
    settle(owner);
    Bound bound{version, held_, {}};
    for (const Tensor& tensor : plan_.tensors) bound.data.push_back(tensor.buffers.grad);
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
    for (size_t i = 0; i < bound.data.size(); ++i) plan_.tensors[i].buffers.grad = bound.data[i];
    settle(owner);
    call_schedules();
    run();
}

py::list Plan::prepare(const py::object& owner, const py::object& grads) {
    const Busy busy(busy_, optimizer_);
    Taken taken(*this);
    match(grads);
    settle(owner);
    call_schedules();
    py::list work;
    size_t next = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        if (!tensor.buffers.grad) continue;
        work.append(py::make_tuple(entries_[i].name, tensor.group, tensor.step + 1,
                                   plan_.groups[size_t(tensor.group)].lr, held_[next++]));
    }
    taken.keep();
    return work;
}

void Plan::advance() {
    for (Tensor& tensor : plan_.tensors)
        if (tensor.buffers.grad) ++tensor.step;
    ++calls;
    const Taken over(*this);
}

void Plan::take_changes(const py::object& owner) {
    const Busy busy(busy_, optimizer_);
    settle(owner);
}

void Plan::check_idle() { const Busy busy(busy_, optimizer_); }

}  // namespace fusedstep::bindings
