// Thirty-two threads that go through a kernel. An instruction is done for all that are at it, by one loop over them.
// Where threads part, those who are behind go first, and whoever meets goes on together.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "races.hpp"

namespace fusedstep::ptx {

constexpr int lanes = 32;

/// A bit for each thread of a warp.
using Mask = uint32_t;
constexpr Mask everyone = 0xffffffff;

enum class Space : uint8_t { generic, global, shared, local, param };

/// Where a block's and a thread's own memory appear among all addresses; no memory of the device lies there.
constexpr Address shared_window = Address(1) << 56, local_window = Address(1) << 57;

class Warp;
struct Instruction;
using Run = void (*)(Warp& warp, const Instruction& instruction);

struct Instruction {
    Run run = nullptr;
    std::array<uint32_t, 6> operand{};  ///< places in the frame
    std::array<int64_t, 2> offset{};    ///< what is added to addresses
    std::array<uint8_t, 2> stride{};    ///< bytes of registers that may be wider than what they hold
    Space space = Space::generic;
    uint8_t count = 1;           ///< elements of a vector
    std::array<bool, 2> wide{};  ///< whether addresses have eight bytes
    bool guarded = false, negated = false, branches = false;
    uint32_t guard = 0;  ///< the predicate of those who do it
    uint32_t target = 0;
    std::string_view text;
    mutable Stretch known;  ///< the memory that it was at last
};

struct Kernel;

/// What the threads of a block have in common.
struct Block {
    const Kernel& kernel;
    const Memory& memory;
    std::byte* param;
    std::vector<std::byte> shared;
    Races races;
};

class Warp {
public:
    /// Threads that are elsewhere.
    struct Group {
        uint32_t at;
        Mask members;
        enum Waits : uint8_t { no, for_lanes, for_block } waits;
    };

    Warp(Block& block, unsigned first, std::byte* frame, std::byte* local)
        : block(block), frame(frame), local(local), first_(first) {}

    void start(Mask members);

    /// Until all have left or wait.
    void run();

    /// Those who run now.
    Mask active = 0;

    unsigned first() const { return first_; }  ///< thread
    uint32_t next() const { return next_; }
    void jump(Mask members, uint32_t to);
    void leave();
    void part(Mask staying, Group::Waits waits);  ///< these stay at the instruction; the others go on
    Mask present() const { return present_; }

    bool done() const { return groups_.empty(); }
    /// All of them: where some have left, a barrier is undefined.
    bool at_barrier() const {
        return groups_.size() == 1 && groups_[0].waits == Group::for_block && groups_[0].members == started_;
    }
    uint32_t place() const { return groups_[0].at; }
    void pass_barrier();
    void count_meeting() { ++meetings_; }
    const std::vector<Group>& groups() const { return groups_; }

    template <class T>
    T* reg(uint32_t place) const {
        return reinterpret_cast<T*>(std::assume_aligned<64>(frame + place));
    }

    /// Where the memory of each running thread lies, for one of an instruction's addresses.
    void locate(const Instruction& instruction, int which, Space space, size_t bytes, Touch touch,
                std::byte* (&at)[lanes]);

    uint64_t instructions() const { return done_; }

    Block& block;
    std::byte* const frame;
    std::byte* const local;

private:
    void add(uint32_t at, Mask members, Group::Waits waits);
    std::byte* one(Space space, Address address, size_t bytes, Touch touch, int lane) const;

    const unsigned first_;
    unsigned barriers_ = 0, meetings_ = 0;
    uint64_t done_ = 0;
    uint32_t next_ = 0, stop_ = 0;
    Mask present_ = 0, started_ = 0;
    std::vector<Group> groups_;
};

/// For each running thread, one after the other.
template <class Do>
inline __attribute__((always_inline)) void each(Mask active, Do act) {
    for (Mask left = active; left; left &= left - 1) act(std::countr_zero(left));
}

/// The same where no thread touches what is another's: where all of them run, the compiler makes vectors of it.
template <class Do>
inline __attribute__((always_inline)) void at_once(Mask active, Do act) {
    if (active != everyone) return each(active, act);
#pragma GCC ivdep
    for (int i = 0; i < lanes; ++i) act(i);
}

}  // namespace fusedstep::ptx
