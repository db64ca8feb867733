#include "runner.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "../kernel/float_mode.hpp"
#include "launch.hpp"

namespace fusedstep::cuda {
namespace {

int rule_at(const Group& group, int64_t step) { return group.at(step, 1).rule; }

bool begins_at_four(const void* data, int64_t size) {
    return reinterpret_cast<uintptr_t>(data) % size_t(4 * size) == 0;
}

/// Whether four elements of each array can be read at once.
bool is_aligned(const Task& task) {
    const auto fits = [&](const void* data, Type type) { return begins_at_four(data, size_of(type)); };
    const auto holds = [&](const void* data, const Format& format) {
        const bool rest = format.type == Type::code8 || begins_at_four(format.rest, 2);
        return rest && fits(data, format.type);
    };
    const Cargo& cargo = task.cargo;
    bool aligned = task.offset % 4 == 0 && holds(task.buffers.param, cargo.param) &&
                   fits(task.buffers.grad, cargo.grad.type) && fits(cargo.average, task.type) &&
                   fits(cargo.copy, cargo.copy_type) && fits(task.ring.data, task.type) && task.ring.stride % 4 == 0;
    for (int i = 0; i < Buffers::most_states; ++i) aligned &= holds(task.buffers.state[i], cargo.state[i]);
    return aligned;
}

Path path_of(const Task& task) {
    const Cargo& cargo = task.cargo;
    if (cargo.bare(task.type)) return Path::bare;
    if (cargo.carries() || task.type != Type::float32 || task.ring.data) return Path::full;
    const auto half = [](const Format& format) { return format.type == Type::bfloat16 && !format.split(); };
    const auto either = [=](const Format& format) { return format.type == Type::float32 || half(format); };
    bool halves = half(cargo.param) && half(cargo.grad);
    bool mixed = either(cargo.param) && either(cargo.grad), codes = mixed && task.buffers.state[0];
    for (int i = 0; i < Buffers::most_states && task.buffers.state[i]; ++i) {
        halves &= half(cargo.state[i]);
        mixed &= either(cargo.state[i]);
        codes &= cargo.state[i].type == Type::code8;
    }
    return halves ? Path::halves : mixed ? Path::mixed : codes ? Path::codes : Path::full;
}

/// What a step does with a tensor, but for a factor.
Task task_of(const Plan& plan, size_t number) {
    const Tensor& tensor = plan.tensors[number];
    Task task;
    task.tensor = int(number);
    task.group = tensor.group;
    task.type = tensor.type;
    task.size = tensor.size;
    task.offset = tensor.extent.offset;
    task.buffers = tensor.buffers;
    task.cargo = plan.cargo_of(tensor, 0);
    task.cargo.factor = 1;
    task.ring = tensor.ring;
    task.carry = tensor.carry;
    task.path = path_of(task);
    task.aligned = is_aligned(task);
    return task;
}

/// Throws where a graph is captured: what comes from the host is not part of it.
void refuse_capture(Stream stream) {
    if (cuda::capturing(stream))
        throw std::runtime_error("a step that is captured must have been run before with the same arrays and stages");
}

/// Brings tasks and groups to the device where they are others than before; false where they are not.
bool put(std::vector<std::unique_ptr<Layout>>& layouts, const std::vector<Task>& tasks, const Catalog& catalog,
         Stream stream) {
    if (!layouts.empty() && layouts.back()->holds(tasks, catalog)) return false;
    refuse_capture(stream);
    if (layouts.empty() || layouts.back()->captured) layouts.push_back(std::make_unique<Layout>());
    layouts.back()->put(tasks, catalog, stream);
    return true;
}

/// With the numbers of the device's memory, for which it waits.
Stages read(Stages stages, Stream stream) {
    double scale, norm;
    const auto bring = [&](Live& live, double& room) {
        if (!live) return;
        download(&room, live.at, size_t(size_of(live.type)), stream);
        live.at = &room;
    };
    bring(stages.live_scale, scale);
    bring(stages.live_norm, norm);
    return stages.read();
}

/// Behind the last step, and before the next, however this one ends.
class Behind {
public:
    Behind(std::optional<Mark>& end, Stream stream) : end_(end), stream_(stream) {
        if (end_) end_->hold_back(stream_);
    }
    ~Behind() {
        if (end_) end_->set(stream_);
    }
    Behind(const Behind&) = delete;
    Behind& operator=(const Behind&) = delete;

private:
    std::optional<Mark>& end_;
    Stream stream_;
};

}  // namespace

Runner::Runner(int device, bool wanders) : device_(device) {
    const On on(device_);
    if (wanders) end_.emplace();
}

/// Whether the tasks are other ones than in the step before; to make them anew takes longer.
bool Runner::changed(const Plan& plan) {
    Source& now = source_now_;  // whose memory is used again
    now.bound = plan.bound;
    now.version = plan.version;
    now.clip_value = plan.stages.clip_value;
    now.zero_grad = plan.stages.zero_grad;
    now.flush_denormals = plan.stages.flush_denormals;
    now.given.clear();
    if (now == source_) return false;
    for (const Tensor& tensor : plan.tensors)
        now.given.push_back({tensor.buffers.grad, tensor.cargo.grad.type, tensor.cargo.copy, tensor.cargo.copy_type});
    const bool others = now != source_;
    std::swap(now, source_);
    return others;
}

void Runner::list_tasks(const Plan& plan) {
    laid_out_ = false;
    tasks_.clear();
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        if (plan.tensors[i].buffers.grad) tasks_.push_back(task_of(plan, i));
}

/// Brings the table to the device where it has changed.
void Runner::lay_out(const Plan& plan, Stream stream) {
    if (laid_out_) return;
    if (put(layouts_, tasks_, Catalog::of(plan.groups, tasks_), stream)) {
        layouts_.back()->fill(table_);
        const Task* before = nullptr;
        for (const Task& task : tasks_) {
            if (!before || !task.like(*before))
                load({rule_at(plan.groups[size_t(task.group)], late_step), task.type, task.path});
            before = &task;
        }
    }
    laid_out_ = true;
}

/// Gives the device the plan's counters.
void Runner::count_from(const Plan& plan, Stream stream) {
    refuse_capture(stream);
    const bool others = certain_steps_.size() != plan.tensors.size() || rates_.size() != plan.groups.size();
    if (counters_.empty() || (captured_ && others)) {
        auto fresh = std::make_unique<Counters>();
        const Progress none{plan.outcome};
        fresh->progress.put(&none, sizeof(none), stream);
        counters_.push_back(std::move(fresh));
        rates_.clear();
        seen_ = none;
    }
    certain_steps_.clear();
    for (const Tensor& tensor : plan.tensors) certain_steps_.push_back(tensor.step);
    Counters& counters = *counters_.back();
    counters.steps.put(certain_steps_.data(), certain_steps_.size() * sizeof(int64_t), stream);
    table_.steps = counters.steps.as<int64_t>();
    table_.progress = counters.progress.as<Progress>();
    steps_known_ = true;
    skips_ = false;
}

void Runner::set_counters(const Plan& plan) {
    steps_known_ = false;
    if (!captured_ || certain_steps_.size() != plan.tensors.size()) return;
    // The next launch of a graph goes on from here.
    const On on(device_);
    wait_for_all();
    count_from(plan, nullptr);
    wait(nullptr);  // graphs are launched in streams that do not wait for this one
}

void Runner::load(const Kind& kind) {
    if (std::find(loaded_.begin(), loaded_.end(), kind) != loaded_.end()) return;
    make_ready(kind.rule, kind.type, kind.path);
    loaded_.push_back(kind);
}

void Runner::add(const Kind& kind) {
    if (std::find(kinds_.begin(), kinds_.end(), kind) == kinds_.end()) kinds_.push_back(kind);
}

/// Every rule that the device may find to be this step's: where it may have counted less than the plan, or is going to
/// count on without it, that of the last step that is certain and all that follow.
void Runner::find_kinds(const Plan& plan) {
    kinds_.clear();
    const Task* before = nullptr;
    int64_t step = 0;
    for (const Task& task : tasks_) {
        const int64_t next =
            1 + (uncertain() ? certain_steps_[size_t(task.tensor)] : plan.tensors[size_t(task.tensor)].step);
        if (before && task.like(*before) && next == step) continue;
        const Group& group = plan.groups[size_t(task.group)];
        add({rule_at(group, next), task.type, task.path});
        if (uncertain()) add({rule_at(group, late_step), task.type, task.path});
        before = &task;
        step = next;
    }
}

void Runner::put_rates(const Plan& plan, Stream stream) {
    // The next step brings them with counters of its own: a graph may still read those that are there.
    if (!steps_known_) return;
    const On on(device_);
    std::vector<double> rates;
    for (const Group& group : plan.groups) rates.push_back(group.lr);
    if (rates == rates_) return;
    if (cuda::capturing(stream))
        throw std::runtime_error("a step that is captured must have the lr of the step before, got another");
    rates_.clear();  // until all of the new ones are there
    counters_.back()->rates.put(rates.data(), rates.size() * sizeof(double), stream);
    table_.rates = counters_.back()->rates.as<const double>();
    rates_ = std::move(rates);
}

void Runner::displace(const Plan& plan, std::span<const Ahead> aheads, Stream stream) {
    const On on(device_);
    std::vector<Task> tasks;
    for (size_t i = 0; i < aheads.size(); ++i) {
        const Ahead& ahead = aheads[i];
        Task& task = tasks.emplace_back(task_of(plan, i));
        task.buffers.grad = ahead.state < 0 ? nullptr : task.buffers.state[ahead.state];
        if (ahead.state >= 0) task.cargo.grad = task.cargo.state[ahead.state];
        task.cargo.copy = ahead.array;
        task.cargo.copy_type = task.cargo.param.type;
        task.cargo.factor = ahead.factor;
        if (!ahead.rated) task.group = -1;
        task.aligned = is_aligned(task);
    }
    put(aheads_, tasks, {}, stream);
    if (!steps_known_) count_from(plan, stream);
    put_rates(plan, stream);
    const bool captured = cuda::capturing(stream);
    captured_ |= captured;
    aheads_.back()->captured |= captured;
    Table table = table_;
    aheads_.back()->fill(table);
    cuda::displace(table, stream);
}

/// What became of a step without the device, which a graph's launch may follow: that is the last then.
void Runner::tell(const Outcome& outcome, Stream stream) {
    knows_last_ = false;
    if (!captured_ || !steps_known_) return;
    upload(&table_.progress->last, &outcome, sizeof(outcome), stream);
    knows_last_ = true;
}

void Runner::launch(const Plan& plan, const Decision& decision, Stream stream) {
    for (const Kind& kind : kinds_) load(kind);  // for which there may be no memory: nothing has been counted yet
    if (decision.pending) measure(table_, plan.stages, stream);
    for (const int method : layouts_.back()->methods()) prepare(table_, method, decision, stream);
    for (const Kind& kind : kinds_) update(table_, kind.rule, kind.type, kind.path, stream);
}

Stepper::Result Runner::step(Plan& plan, Stream stream) {
    const FloatMode mode;
    const On on(device_);
    const Behind behind(end_, stream);
    const Stages& stages = plan.stages;
    if (changed(plan)) list_tasks(plan);
    const bool pending = stages.pending() && !tasks_.empty(), captured = cuda::capturing(stream);
    Outcome outcome;
    // Of a step without gradients there is nothing that the device could do by itself.
    if (!pending)
        outcome = settle(captured ? stages : read(stages, stream), Measured{nullptr, 0}, [](int64_t, double) {});
    if (captured && stages.on_nonfinite == Stages::raise)
        throw std::runtime_error("on_nonfinite must be 'propagate' or 'skip' in a step that is captured, got 'raise'");
    if (!captured) plan.outcome = outcome;
    if (outcome.skipped || tasks_.empty()) {
        if (!captured) tell(outcome, stream);
        return {outcome.skipped ? skipped : happened, captured};
    }

    lay_out(plan, stream);
    if (!steps_known_) count_from(plan, stream);
    put_rates(plan, stream);
    captured_ |= captured;
    layouts_.back()->captured |= captured;
    skips_ |= pending && stages.on_nonfinite != Stages::propagate;
    find_kinds(plan);
    launch(plan, {pending, outcome}, stream);
    if (!captured) {
        knows_last_ = true;
        for (Tensor& tensor : plan.tensors)
            if (tensor.buffers.grad) ++tensor.step;
    }
    return {underway, captured};
}

Progress Runner::fetch(Plan& plan, std::optional<Stream> last) {
    if (!steps_known_) return {};
    const On on(device_);
    const Stream stream = captured_ ? nullptr : last.value_or(nullptr);
    if (captured_ || !last) wait_for_all();  // graphs are launched in streams that nothing is known of
    Progress now;
    download(&now, table_.progress, sizeof(now), stream);
    download(certain_steps_.data(), table_.steps, certain_steps_.size() * sizeof(int64_t), stream);
    for (size_t i = 0; i < certain_steps_.size(); ++i) plan.tensors[i].step = certain_steps_[i];
    if (knows_last_) plan.outcome = now.last;
    const Progress since{now.last, now.calls - seen_.calls, now.skipped - seen_.skipped};
    seen_ = now;
    skips_ = false;
    return since;
}

}  // namespace fusedstep::cuda
