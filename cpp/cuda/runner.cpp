#include "runner.hpp"

#include <algorithm>
#include <stdexcept>

#include "launch.hpp"

namespace fusedstep::cuda {
namespace {

int rule_at(const Group& group, int64_t step) {
    return std::visit([&](const auto& method) { return method.at({step, group.lr, 1}); }, group.method).rule;
}

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

}  // namespace

void Runner::put(Memory& memory, const void* data, size_t bytes, Stream stream) {
    memory.reserve(bytes);
    if (bytes) upload(memory.data(), data, bytes, stream);
}

/// Brings the table to the device where it has changed.
void Runner::lay_out(const Plan& plan, Stream stream) {
    tasks_.clear();
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const Tensor& tensor = plan.tensors[i];
        if (!tensor.buffers.grad) continue;
        Task& task = tasks_.emplace_back();
        task.tensor = int(i);
        task.group = tensor.group;
        task.type = tensor.type;
        task.size = tensor.size;
        task.offset = tensor.extent.offset;
        task.buffers = tensor.buffers;
        task.cargo = plan.cargo_of(tensor, 0);
        task.cargo.factor = 1;
        task.bare = task.cargo.bare(tensor.type);
        task.ring = tensor.ring;
        task.carry = tensor.carry;
        task.aligned = is_aligned(task);
    }
    if (tasks_ == laid_out_ && steps_known_) return;
    if (cuda::capturing(stream))
        throw std::runtime_error("a step that is captured must have been run before with the same arrays and stages");

    std::vector<Chunk> chunks;
    std::vector<int64_t> first_chunks;
    for (size_t i = 0; i < tasks_.size(); ++i) {
        first_chunks.push_back(int64_t(chunks.size()));
        for (int64_t number = 0; number < tasks_[i].chunks(); ++number) chunks.push_back({int(i), int(number)});
    }
    put(task_memory_, tasks_.data(), tasks_.size() * sizeof(Task), stream);
    put(chunk_memory_, chunks.data(), chunks.size() * sizeof(Chunk), stream);
    put(first_chunk_memory_, first_chunks.data(), first_chunks.size() * sizeof(int64_t), stream);
    turn_memory_.reserve(tasks_.size() * sizeof(Turn));
    sum_memory_.reserve(chunks.size() * chunk_blocks * sizeof(double));
    square_memory_.reserve(tasks_.size() * sizeof(double));
    laid_out_ = tasks_;
    if (!steps_known_) {
        certain_steps_.clear();
        for (const Tensor& tensor : plan.tensors) certain_steps_.push_back(tensor.step);
        put(step_memory_, certain_steps_.data(), certain_steps_.size() * sizeof(int64_t), stream);
        seen_ = {};
        put(progress_memory_, &seen_, sizeof(seen_), stream);
        steps_known_ = true;
        skips_ = false;
    }
    table_.tasks = static_cast<const Task*>(task_memory_.data());
    table_.task_count = int(tasks_.size());
    table_.chunks = static_cast<const Chunk*>(chunk_memory_.data());
    table_.chunk_count = int64_t(chunks.size());
    table_.first_chunks = static_cast<const int64_t*>(first_chunk_memory_.data());
    table_.turns = static_cast<Turn*>(turn_memory_.data());
    table_.steps = static_cast<int64_t*>(step_memory_.data());
    table_.sums = static_cast<double*>(sum_memory_.data());
    table_.squares = static_cast<double*>(square_memory_.data());
    table_.progress = static_cast<Progress*>(progress_memory_.data());
}

void Runner::add(const Kind& kind) {
    if (std::find(kinds_.begin(), kinds_.end(), kind) == kinds_.end()) kinds_.push_back(kind);
}

/// Every rule that the device may find to be this step's: where it may have counted less than the plan, or is going to
/// count on without it, that of the last step that is certain and all that follow.
void Runner::find_kinds(const Plan& plan) {
    kinds_.clear();
    int group = -1, rule = 0, late = 0;
    int64_t step = 0;
    for (const Task& task : tasks_) {
        const int64_t next =
            1 + (uncertain() ? certain_steps_[size_t(task.tensor)] : plan.tensors[size_t(task.tensor)].step);
        if (task.group != group || next != step) {
            group = task.group;
            step = next;
            rule = rule_at(plan.groups[size_t(group)], step);
            late = uncertain() ? rule_at(plan.groups[size_t(group)], late_step) : rule;
        }
        add({rule, task.type, task.bare});
        add({late, task.type, task.bare});
    }
}

void Runner::put_rates(const Plan& plan, Stream stream) {
    std::vector<double> rates;
    for (const Group& group : plan.groups) rates.push_back(group.lr);
    if (rates == rates_) return;
    if (cuda::capturing(stream))
        throw std::runtime_error("a step that is captured must have the lr of the step before, got another");
    const On on(device_);
    put(rate_memory_, rates.data(), rates.size() * sizeof(double), stream);
    table_.rates = static_cast<const double*>(rate_memory_.data());
    rates_ = rates;
}

bool Runner::capturing(Stream stream) {
    const On on(device_);
    return cuda::capturing(stream);
}

bool Runner::step(Plan& plan, Stream stream) {
    const On on(device_);
    const Stages& stages = plan.stages;
    const bool measured = stages.measure();
    Outcome outcome;
    if (!measured) outcome = settle(stages, nullptr, 0, [](int64_t, double) {});
    plan.outcome = outcome;
    if (outcome.skipped) return false;
    const bool captured = cuda::capturing(stream);
    if (captured && stages.on_nonfinite == Stages::raise)
        throw std::runtime_error("on_nonfinite must be 'propagate' or 'skip' in a step that is captured, got 'raise'");

    lay_out(plan, stream);
    stream_ = stream;
    put_rates(plan, stream);
    captured_ |= captured;
    skips_ |= measured && stages.on_nonfinite != Stages::propagate;
    find_kinds(plan);
    if (measured) measure(table_, stages, stream);
    for (size_t begin = 0; begin < tasks_.size();) {
        const int number = tasks_[begin].group;
        size_t end = begin;
        while (end < tasks_.size() && tasks_[end].group == number) ++end;
        const Group& group = plan.groups[size_t(number)];
        prepare(table_, {group.method, group.decay, int(begin), int(end), begin == 0, measured, outcome}, stream);
        begin = end;
    }
    for (const Kind& kind : kinds_) update(table_, kind.rule, kind.type, kind.bare, stream);
    if (captured) return true;
    for (Tensor& tensor : plan.tensors)
        if (tensor.buffers.grad) ++tensor.step;
    return true;
}

Progress Runner::fetch(Plan& plan) {
    if (!steps_known_) return {};
    const On on(device_);
    Progress now;
    download(&now, table_.progress, sizeof(now), stream_);
    download(certain_steps_.data(), table_.steps, certain_steps_.size() * sizeof(int64_t), stream_);
    for (size_t i = 0; i < certain_steps_.size(); ++i) plan.tensors[i].step = certain_steps_[i];
    plan.outcome = now.last;
    const Progress since{now.last, now.calls - seen_.calls, now.skipped - seen_.skipped};
    seen_ = now;
    skips_ = false;
    return since;
}

}  // namespace fusedstep::cuda
