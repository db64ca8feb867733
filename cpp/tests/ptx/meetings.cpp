// Where threads part and meet. Whoever is named at a meeting has to come to the same instruction.
#include "forms.hpp"
#include "program.hpp"

namespace fusedstep::ptx {
namespace {

void branch(Warp& warp, const Instruction& in) {
    Mask taken = warp.active;
    if (in.guarded) taken &= in.negated ? ~*warp.reg<Mask>(in.guard) : *warp.reg<Mask>(in.guard);
    if (taken) warp.jump(taken, in.target);
}

void leave(Warp& warp, const Instruction&) { warp.leave(); }

/// Whether anybody can go on: the masks of all of whose members are here.
bool meet(Warp& warp, const uint32_t* members) {
    Mask ready = 0;
    each(warp.active, [&](int i) {
        if (!(members[i] >> i & 1)) throw Fault("thread " + std::to_string(i) + " is not among those whom it names");
        if (members[i] & ~warp.present()) throw Fault("threads are waited for that have left, or never were");
        if (!(members[i] & ~warp.active)) ready |= Mask(1) << i;
    });
    warp.part(warp.active & ~ready, Warp::Group::for_lanes);
    return ready;
}

enum class Way { up, down, across, to };

template <Way way>
void shuffle(Warp& warp, const Instruction& in) {
    const uint32_t* const members = warp.reg<uint32_t>(in.operand[5]);
    if (!meet(warp, members)) return;
    uint32_t given[lanes];
    std::memcpy(given, warp.reg<uint32_t>(in.operand[2]), sizeof given);
    const uint32_t *const by = warp.reg<uint32_t>(in.operand[3]), *const limits = warp.reg<uint32_t>(in.operand[4]);
    Mask& inside = *warp.reg<Mask>(in.operand[1]);
    each(warp.active, [&](int i) {
        const int n = int(by[i] & 31), limit = int(limits[i] & 31), segment = int(limits[i] >> 8 & 31);
        const int last = (i & segment) | (limit & ~segment);
        int from = way == Way::up       ? i - n
                   : way == Way::down   ? i + n
                   : way == Way::across ? i ^ n
                                        : (i & segment) | (n & ~segment);
        const bool found = way == Way::up ? from >= last : from <= last;
        if (!found) from = i;
        if (!(members[i] >> from & 1))
            throw Fault("thread " + std::to_string(i) + " asks thread " + std::to_string(from) +
                        ", who is not among them");
        warp.reg<uint32_t>(in.operand[0])[i] = given[from];
        inside = (inside & ~(Mask(1) << i)) | Mask(found) << i;
    });
}

void vote(Warp& warp, const Instruction& in) {
    const uint32_t* const members = warp.reg<uint32_t>(in.operand[2]);
    if (!meet(warp, members)) return;
    const Mask for_it = *warp.reg<Mask>(in.operand[1]) & warp.active;
    Mask& any = *warp.reg<Mask>(in.operand[0]);
    each(warp.active, [&](int i) { any = (any & ~(Mask(1) << i)) | Mask((members[i] & for_it) != 0) << i; });
}

void together(Warp& warp, const Instruction& in) {
    if (meet(warp, warp.reg<uint32_t>(in.operand[0]))) warp.count_meeting();
}

void barrier(Warp& warp, const Instruction&) { warp.part(warp.active, Warp::Group::for_block); }

}  // namespace

void add_meetings(Forms& forms) {
    forms["bra"] = forms["bra.uni"] = {branch, "l"};
    forms["ret"] = forms["exit"] = {leave, ""};
    forms["shfl.sync.up.b32"] = {shuffle<Way::up>, "4p4444"};
    forms["shfl.sync.down.b32"] = {shuffle<Way::down>, "4p4444"};
    forms["shfl.sync.bfly.b32"] = {shuffle<Way::across>, "4p4444"};
    forms["shfl.sync.idx.b32"] = {shuffle<Way::to>, "4p4444"};
    forms["vote.sync.any.pred"] = {vote, "pp4"};
    forms["bar.warp.sync"] = {together, "4"};
    forms["bar.sync"] = forms["barrier.sync"] = {barrier, "0"};
}

}  // namespace fusedstep::ptx
