#include "plan.hpp"

#include <algorithm>
#include <cstdint>

namespace fusedstep {

const Plan::Prepared& Plan::prepared(const Tensor& tensor) {
    const int64_t step = tensor.step + 1;
    const double carry = tensor.carry ? *tensor.carry : 1;
    // Tensors that never missed a gradient share one entry; the newest is the likeliest. A group's tensors mostly stand
    // behind each other, so that those of many groups are not looked through.
    size_t& first = first_[size_t(tensor.group)];
    for (size_t i = updates_.size(); i-- > first;) {
        const Prepared& entry = updates_[i];
        if (entry.group == tensor.group && entry.step == step && entry.carry == carry) return entry;
    }
    first = std::min(first, updates_.size());
    const Group& group = groups[tensor.group];
    const Update update = group.at(step, carry);
    updates_.push_back({tensor.group, step, carry, update, group.decay.at(group.lr, update.moves)});
    return updates_.back();
}

std::span<const Work> Plan::prepare() {
    updates_.clear();
    first_.assign(groups.size(), SIZE_MAX);
    moved_.clear();
    work_.clear();
    cargo_.clear();
    // Work points into these.
    updates_.reserve(tensors.size());
    cargo_.reserve(tensors.size());
    const bool all_carry = stages.needs_cargo();
    for (Tensor& tensor : tensors) {
        if (!tensor.buffers.grad) continue;
        const Prepared& entry = prepared(tensor);
        moved_.emplace_back(&tensor, &entry);
        if (tensor.size == 0) continue;
        Work work{&entry.update, entry.border, tensor.type, tensor.size, tensor.extent.offset, tensor.buffers, {}};
        if (all_carry || !tensor.cargo.bare(tensor.type))
            work.cargo = &cargo_.emplace_back(cargo_of(tensor, entry.step));
        if (const int64_t planes = entry.update.window) {
            // Behind its other states the rule sees two planes of the ring: the one that it writes and the one after
            // it.
            int next = 0;
            while (work.buffers.state[next]) ++next;
            const auto plane = [&](int64_t slot) {
                return static_cast<char*>(tensor.ring.data) + slot * tensor.ring.stride * size_of(tensor.type);
            };
            const int64_t slot = entry.update.slot;
            work.buffers.state[next] = plane(slot);
            work.buffers.state[next + 1] = plane((slot + 1) % planes);
            if (slot + 1 == planes) work.ring = tensor.ring;
        }
        work_.push_back(work);
    }
    return work_;
}

Cargo Plan::cargo_of(const Tensor& tensor, int64_t step) const {
    Cargo cargo = tensor.cargo;
    cargo.factor = 1 / stages.grad_scale;
    cargo.clip_value = stages.clip_value;
    cargo.flush_denormals = stages.flush_denormals;
    if (stages.zero_grad) cargo.zero = const_cast<void*>(tensor.buffers.grad);
    cargo.seed = seed;
    cargo.step = uint64_t(step);
    return cargo;
}

bool Plan::settle(std::span<const double> squares) {
    outcome = fusedstep::settle(stages, Measured{squares.data(), int64_t(cargo_.size())},
                                [&](int64_t i, double factor) { cargo_[size_t(i)].factor = factor; });
    if (outcome.skipped) return false;
    for (Work& work : work_)
        if (work.cargo && work.cargo->bare(work.type)) {
            // A factor that nothing stands behind is one with the sign.
            work.border.sign *= work.cargo->factor;
            work.cargo = nullptr;
        }
    return true;
}

void Plan::advance() {
    for (const auto& [tensor, entry] : moved_) {
        tensor->step = entry->step;
        if (tensor->carry) *tensor->carry = entry->update.carry;
    }
}

}  // namespace fusedstep
