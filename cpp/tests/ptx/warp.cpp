#include "warp.hpp"

#include <algorithm>
#include <sstream>

#include "program.hpp"

namespace fusedstep::ptx {
namespace {

constexpr uint64_t longest = 1'000'000'000;

}  // namespace

void Warp::start(Mask members) {
    present_ = started_ = members;
    groups_.assign({{0, members, Group::no}});
}

void Warp::add(uint32_t at, Mask members, Group::Waits waits) {
    for (Group& group : groups_)
        if (group.at == at) {
            group.members |= members;
            group.waits = waits;  // those who waited here for others look again
            return;
        }
    groups_.push_back({at, members, waits});
}

void Warp::jump(Mask members, uint32_t to) {
    if (done_ > longest) throw Fault("a thousand million instructions later this has not ended");
    const Mask rest = active & ~members;
    if (rest) {
        add(to, members, Group::no);
        active = rest;
        stop_ = 0;
    } else {
        next_ = to;
        if (!groups_.empty()) stop_ = 0;
    }
}

void Warp::leave() {
    present_ &= ~active;
    active = 0;
    stop_ = 0;
}

void Warp::part(Mask staying, Group::Waits waits) {
    if (!staying) return;
    add(next_ - 1, staying, waits);
    active &= ~staying;
    stop_ = 0;
}

void Warp::pass_barrier() {
    groups_[0].waits = Group::no;
    ++groups_[0].at;
    ++barriers_;
}

void Warp::run() {
    const std::vector<Instruction>& code = block.kernel.code;
    for (;;) {
        auto lowest = groups_.end();
        for (auto group = groups_.begin(); group != groups_.end(); ++group)
            if (group->waits == Group::no && (lowest == groups_.end() || group->at < lowest->at)) lowest = group;
        if (lowest == groups_.end()) return;
        active = lowest->members;
        next_ = lowest->at;
        groups_.erase(lowest);
        stop_ = uint32_t(code.size());
        for (const Group& group : groups_)
            if (group.at > next_) stop_ = std::min(stop_, group.at);
        do {
            const Instruction& one = code[next_++];
            ++done_;
            if (!one.guarded || one.branches) {
                one.run(*this, one);
            } else {
                const Mask chosen = one.negated ? ~*reg<Mask>(one.guard) : *reg<Mask>(one.guard),
                           rest = active & ~chosen;
                active &= chosen;
                if (active) one.run(*this, one);
                active |= rest;
            }
        } while (next_ < stop_);
        if (active && next_ >= code.size()) throw Fault("threads run behind the end of the code");
        if (active) add(next_, active, Group::no);
    }
}

std::byte* Warp::one(Space space, Address address, size_t bytes, Touch touch, int lane) const {
    if (space == Space::generic) {
        if (address >= local_window) return one(Space::local, address - local_window, bytes, touch, lane);
        if (address >= shared_window) return one(Space::shared, address - shared_window, bytes, touch, lane);
        return block.memory.at(address, bytes, touch);
    }
    std::byte* base = block.param;
    size_t all = block.kernel.param_bytes;
    if (space == Space::shared) {
        base = block.shared.data();
        all = block.shared.size();
    } else if (space == Space::local) {
        all = block.kernel.local_bytes;
        base = local + size_t(lane) * all;
    }
    if (address > all || bytes > all - address) {
        std::ostringstream message;
        message << std::hex << "thread " << lane << " is at 0x" << address << " of 0x" << all << " bytes";
        throw Fault(message.str());
    }
    if (space == Space::shared)
        block.races.note(address, bytes, touch, {first_ + unsigned(lane), barriers_, meetings_});
    return base + address;
}

void Warp::locate(const Instruction& in, int which, Space space, size_t bytes, Touch touch, std::byte* (&at)[lanes]) {
    Address address[lanes];
    const auto offset = uint64_t(in.offset[size_t(which)]);
    const uint32_t base = in.operand[size_t(4 + which)];
    if (in.wide[size_t(which)]) {
        const uint64_t* const from = reg<uint64_t>(base);
        each(active, [&](int i) { address[i] = from[i] + offset; });
    } else {
        const uint32_t* const from = reg<uint32_t>(base);
        each(active, [&](int i) { address[i] = uint32_t(from[i] + offset); });
    }
    Address all = 0;
    each(active, [&](int i) { all |= address[i]; });
    if (all & (bytes - 1)) throw Fault("an address is not a multiple of " + std::to_string(bytes));
    if (space == Space::global) {
        each(active, [&](int i) {
            if (bytes > block.memory.stretch(address[i], in.known).end - address[i])
                throw Fault("thread " + std::to_string(i) + " is behind the end of a piece of memory");
            block.memory.note(address[i], bytes, touch);
            at[i] = block.memory.at(address[i]);
        });
    } else {
        each(active, [&](int i) { at[i] = one(space, address[i], bytes, touch, i); });
    }
}

}  // namespace fusedstep::ptx
