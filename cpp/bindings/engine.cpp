#include "engine.hpp"

#include "../cpu/step.hpp"
#include "cuda.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

/// Below this, a step is over before another thread could use the interpreter.
constexpr int64_t worth_releasing = 32768;

}  // namespace

void Engine::start() {
    const auto& entries = roster_.entries();
    if (!stepper_ && !entries.empty() && entries.front().layout.device.kind == Device::cuda)
        stepper_ = cuda_backend().stepper(entries.front().layout.device.index, wanders_);
    recount();
}

void Engine::recount() {
    if (stepper_) stepper_->set_counters(roster_.plan);
}

void Engine::leave_device() {
    if (!stepper_) return;
    const Released released;
    stepper_.reset();
}

void* Engine::stream() const { return stepper_ ? current_stream(roster_.entries().front().param) : nullptr; }

bool Engine::is_capturing() const { return stepper_ && is_captured(roster_.entries().front().param); }

void Engine::refuse_graph() const {
    if (stepper_) refuse_capture(roster_.entries().front().param, roster_.optimizer);
}

void Engine::fetch(std::optional<void*> last) {
    if (!stepper_) return;
    refuse_graph();
    Outcome outcome;
    {
        const Released released;
        const auto held = hold();
        const Progress progress = stepper_->fetch(roster_.plan, last);
        calls_ += progress.calls - unfetched_;
        skipped_ += progress.skipped;
        unfetched_ = 0;
        outcome = roster_.plan.outcome;
    }
    outcome_ = outcome;
}

void Engine::catch_up(bool in_stream) {
    if (!stepper_ || !stepper_->uncertain()) return;
    if (in_stream)
        fetch(stream());
    else
        fetch();
}

void Engine::set_calls(int64_t calls) {
    fetch();
    const auto held = hold();
    calls_ = calls;
}
void Engine::set_skipped(int64_t skipped) {
    fetch();
    const auto held = hold();
    skipped_ = skipped;
}

void Engine::put_rates(void* stream) {
    if (!stepper_) return;
    const Released released;
    const auto held = hold();
    stepper_->put_rates(roster_.plan, stream);
}

void Engine::displace(std::span<const Ahead> aheads, void* stream) {
    const Released released;
    const auto held = hold();
    stepper_->displace(roster_.plan, aheads, stream);
}

/// Puts the step into the caller's stream; only to raise does it wait.
void Engine::run_on_device(void* stream) {
    fusedstep::Plan& plan = roster_.plan;
    const bool raises = plan.stages.on_nonfinite == Stages::raise;
    Stepper::Result result;
    Outcome outcome;
    {
        const Released released;
        const auto held = hold();
        result = stepper_->step(plan, stream);
        outcome = plan.outcome;
        const bool counted = result.verdict == Stepper::underway;
        calls_ += !result.captured && result.verdict != Stepper::skipped;
        unfetched_ += !result.captured && counted;
    }
    if (result.captured) return;
    outcome_ = outcome;
    if (result.verdict == Stepper::skipped) return refuse_step(outcome_.norm, raises);
    if (!raises || result.verdict == Stepper::happened || !plan.stages.pending()) return;
    fetch(stream);
    if (!outcome_.skipped) return;
    --skipped_;  // the device has counted what is an error here
    refuse_step(outcome_.norm, true);
}

void Engine::run(void* stream) {
    if (stepper_) return run_on_device(stream);
    fusedstep::Plan& plan = roster_.plan;
    int64_t total = 0;
    for (const Tensor& tensor : plan.tensors)
        if (tensor.buffers.grad) total += tensor.size;
    bool happened;
    if (total < worth_releasing) {
        happened = cpu::step(plan);
    } else {
        const Released released;
        happened = cpu::step(plan);
    }
    outcome_ = plan.outcome;
    if (happened)
        ++calls_;
    else
        refuse_step(outcome_.norm, plan.stages.on_nonfinite == Stages::raise);
}

/// A step that its stages do not let happen is counted or raised.
void Engine::refuse_step(double norm, bool raises) {
    if (!raises) {
        ++skipped_;
        return;
    }
    PyErr_Format(PyExc_FloatingPointError, "%s: grads must be finite with on_nonfinite='raise', got a norm of %s",
                 roster_.optimizer.c_str(), std::to_string(norm).c_str());
    throw py::error_already_set();
}

void Engine::advance(double norm, double factor) {
    outcome_ = {norm, factor, false};
    ++calls_;
}

void Engine::skip(double norm, bool raises) {
    outcome_ = {norm, 1, true};
    refuse_step(norm, raises);
}

}  // namespace fusedstep::bindings
