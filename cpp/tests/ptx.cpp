// The machine that the kernels run on where there is no GPU: that it computes what PTX says, and that it notices what
// a GPU would do something undefined with.
#include "ptx/machine.hpp"

#include <string>

#include "check.hpp"

namespace {

using namespace fusedstep::ptx;

std::string kernel(const std::string& body) {
    return ".version 7.0\n.target sm_80\n.address_size 64\n"
           ".visible .entry k(.param .u64 k_param_0) {\n"
           ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b64 %d<9>; .reg .f64 %g<9>;\n"
           ".shared .align 16 .b8 own[1024];\n"
           "ld.param.u64 %d8, [k_param_0];\nmov.u32 %r8, %tid.x;\nmul.wide.u32 %d7, %r8, 8;\nadd.s64 %d7, %d8, %d7;\n" +
           body + "\nret;\n}\n";
}

constexpr unsigned most = 64;

struct Array {
    Memory memory;
    const Address address = memory.allocate(8 * most);
} array;

/// What each thread leaves in the eight bytes at %d7; %d8 is where they all begin, %r8 the thread's number.
std::vector<uint64_t> run(const std::string& body, unsigned threads = 32) {
    const std::string text = kernel(body);
    const auto kernels = kernels_of(text);
    const Memory& memory = array.memory;
    std::vector<std::byte> param(sizeof(Address));
    std::memcpy(param.data(), &array.address, sizeof(Address));
    Machine machine(memory);
    std::vector<uint64_t> made(threads), again(threads);
    for (std::vector<uint64_t>* to : {&made, &again}) {  // in either order
        std::memset(memory.at(array.address), 0, 8 * most);
        memory.note(array.address, 8 * most, Touch::writes);
        machine.run({&kernels.begin()->second, {1, 1, 1}, {threads, 1, 1}, 0, param});
        std::memcpy(to->data(), memory.at(array.address), 8 * threads);
    }
    CHECK(made == again);
    return made;
}

bool refused(const std::string& body, const std::string& why, unsigned threads = 32) {
    try {
        run(body, threads);
    } catch (const Fault& fault) {
        if (std::string(fault.what()).find(why) != std::string::npos) return true;
        std::printf("expected '%s', got '%s'\n", why.c_str(), fault.what());
        return false;
    }
    std::printf("expected '%s', got nothing\n", why.c_str());
    return false;
}

/// All threads at once, and then a few.
void leaves(const std::string& body, uint64_t expected) {
    const std::string store = "\nst.global.u64 [%d7], %d0;\n";
    for (const uint64_t one : run(body + store)) {
        CHECK(one == expected);
        if (one == expected) continue;
        std::printf("%s: expected %lx, got %lx\n", body.c_str(), expected, one);
        break;
    }
    const auto some = run("and.b32 %r7, %r8, 3; setp.eq.u32 %p8, %r7, 1; @!%p8 bra end;\n" + body + store + "end:");
    for (size_t i = 0; i < some.size(); ++i) CHECK(some[i] == (i % 4 == 1 ? expected : 0));
}
void leaves32(const std::string& body, uint32_t expected) { leaves(body + " cvt.u64.u32 %d0, %r0;", expected); }
void leaves_float(const std::string& body, uint32_t expected) { leaves32(body + " mov.b32 %r0, %f0;", expected); }
void holds(const std::string& relation, bool expected) { leaves(relation + " selp.b64 %d0, 1, 0, %p0;", expected); }

void whole_numbers() {
    leaves32("add.s32 %r0, 2147483647, 1;", 0x80000000);
    leaves32("sub.u32 %r0, 0, 1;", 0xffffffff);
    leaves32("mul.hi.u32 %r0, 0xffffffff, 0xffffffff;", 0xfffffffe);
    leaves32("mul.hi.s32 %r0, -1, 1;", 0xffffffff);
    leaves("mul.wide.s32 %d0, -3, 5;", uint64_t(-15));
    leaves("mul.wide.u32 %d0, 0xffffffff, 0xffffffff;", 0xfffffffe00000001);
    leaves("mul.hi.u64 %d0, 0xffffffffffffffff, 16;", 15);
    leaves("mad.lo.s64 %d0, -3, 5, 7;", uint64_t(-8));
    leaves32("shl.b32 %r0, 1, 32;", 0);
    leaves32("shr.s32 %r0, -5, 40;", 0xffffffff);
    leaves32("shr.u32 %r0, 0x80000000, 31;", 1);
    leaves32("div.s32 %r0, -7, 2;", uint32_t(-3));
    leaves32("rem.s32 %r0, -7, 2;", uint32_t(-1));
    leaves32("max.s32 %r0, -7, 2;", 2);
    leaves32("max.u32 %r0, -7, 2;", uint32_t(-7));
    leaves32("prmt.b32 %r0, 0x33221100, 0x77665544, 0x7531;", 0x77553311);
    leaves32("prmt.b32 %r0, 0x80, 0, 8;", 0x808080ff);
    leaves32("cvt.pack.sat.u8.s32.b32 %r0, 256, -1, 0x1234;", 0x1234ff00);
    leaves32("shf.l.wrap.b32 %r0, 0x80000000, 1, 33;", 3);
    leaves32("shf.r.wrap.b32 %r0, 1, 1, 1;", 0x80000000);
    leaves32("bfi.b32 %r0, 0xff, 0x12345678, 8, 4;", 0x12345f78);
    leaves32("bfi.b32 %r0, 0xff, 0, 28, 32;", 0xf0000000);
    leaves("bfi.b64 %d0, 0x1234, 0, 16, 16;", 0x12340000);
    leaves32("bfe.u32 %r0, 0x12345678, 8, 8;", 0x56);
    leaves32("bfe.u32 %r0, 0x12345678, 24, 0;", 0);
    leaves32("clz.b32 %r0, 0;", 32);
    leaves32("popc.b64 %r0, 0xf0f;", 8);
    leaves("mov.b64 %d1, 0x100000002; mov.b64 {%r1, %r2}, %d1; mov.b64 %d0, {%r2, %r1};", 0x200000001);
    holds("setp.lt.s32 %p0, -1, 0;", true);
    holds("setp.lt.u32 %p0, -1, 0;", false);
    holds("mov.pred %p1, -1; not.pred %p2, %p1; xor.pred %p0, %p1, %p2;", true);
}

void floating_numbers() {
    leaves_float("mov.f32 %f1, 0f7F800000; sub.rn.f32 %f0, %f1, %f1;", 0x7fffffff);
    leaves_float("add.rn.f32 %f0, 0fFFC12345, 0f3F800000;", 0x7fffffff);
    leaves_float("mul.rn.f32 %f0, 0f00800000, 0f3F000000;", 0x00400000);  // none is flushed
    leaves_float("div.rn.f32 %f0, 0f3F800000, 0f40400000;", 0x3eaaaaab);
    leaves_float("sqrt.rn.f32 %f0, 0f40000000;", 0x3fb504f3);
    leaves_float("mad.rn.f32 %f0, 0f3F800001, 0f3F800001, 0fBF800002;", 0x28800000);  // 2^-46, rounded once
    leaves_float("rcp.approx.ftz.f32 %f0, 0f40400000;", 0x3eaaaaab);
    leaves_float("rcp.approx.ftz.f32 %f0, 0f80000001;", 0xff800000);
    leaves_float("rcp.approx.ftz.f32 %f0, 0f7F000000;", 0);
    leaves_float("rsqrt.approx.ftz.f32 %f0, 0f40000000;", 0x3f3504f3);
    leaves_float("rsqrt.approx.ftz.f32 %f0, 0f00000001;", 0x7f800000);
    leaves_float("rsqrt.approx.ftz.f32 %f0, 0fBF800000;", 0x7fffffff);
    leaves_float("min.f32 %f0, 0f7FC00000, 0f3F800000;", 0x3f800000);
    leaves_float("min.f32 %f0, 0f00000000, 0f80000000;", 0x80000000);
    leaves_float("max.f32 %f0, 0f80000000, 0f00000000;", 0);
    leaves_float("cvt.rn.f32.f64 %f0, 0d3FF0000010000000;", 0x3f800000);
    leaves_float("cvt.rn.f32.u64 %f0, 0xffffffffffffffff;", 0x5f800000);
    leaves32("cvt.rzi.s32.f32 %r0, 0f7FC00000;", 0);
    leaves32("cvt.rzi.s32.f32 %r0, 0f4F800000;", 0x7fffffff);
    leaves32("cvt.rzi.u32.f32 %r0, 0fBF800000;", 0);
    leaves32("cvt.rni.s32.f32 %r0, 0f40200000;", 2);
    leaves32("mov.u16 %h0, 0x1280; cvt.s32.s8 %r0, %h0;", uint32_t(-128));
    leaves32("mov.u16 %h0, 0x80; cvt.s16.s8 %h1, %h0; cvt.u32.u16 %r0, %h1;", 0xff80);
    holds("setp.lt.f32 %p0, 0f7FC00000, 0f00000000;", false);
    holds("setp.ltu.f32 %p0, 0f7FC00000, 0f00000000;", true);
    holds("setp.ne.f32 %p0, 0f7FC00000, 0f00000000;", false);
    holds("setp.neu.f64 %p0, 0d7FF8000000000000, 0d0000000000000000;", true);
    holds("setp.nan.f64 %p0, 0d7FF8000000000000, 0d0000000000000000;", true);
}

void memory() {
    const std::string own_place = "mul.wide.u32 %d1, %r8, 8; mov.u64 %d2, own; add.s64 %d1, %d1, %d2;";
    leaves(own_place + "mov.u32 %r1, 3; mov.u32 %r2, 4; st.shared.v2.u32 [%d1], {%r1, %r2}; ld.shared.u64 %d0, [%d1];",
           0x400000003);
    leaves(own_place + "cvta.shared.u64 %d3, %d1; st.u64 [%d3], 5; ld.shared.u64 %d0, [%d1];", 5);
    const auto numbers = run("mov.u32 %r0, 1; atom.global.add.u32 %r1, [%d8], %r0;");
    CHECK(numbers[0] == 32);
    CHECK(refused("ld.global.u64 %d0, [%d8-8];", "lies in no memory"));
    CHECK(refused("ld.global.u64 %d0, [%d8+512];", "lies in no memory"));
    CHECK(refused("st.global.u32 [%d8+2], %r0;", "not a multiple of 4"));
    CHECK(refused("ld.global.v2.u64 {%d0, %d1}, [%d7];", "not a multiple of 16"));
    CHECK(refused("ld.global.v2.u64 {%d0, %d1}, [%d8+504];", "multiple of 16"));
    CHECK(refused("ld.shared.u64 %d0, [own+1024];", "of 0x400 bytes"));
    CHECK(refused("mov.u64 %d0, 0; ld.u8 %h0, [%d0];", "lies in no memory"));

    Memory own;
    const Address one = own.allocate(100), two = own.allocate(100);
    CHECK(one % 256 == 0 && two > one + 100);
    CHECK(*own.at(one) == std::byte(0xff));
    own.release(one);
    const auto fails = [&](auto act) {
        try {
            act();
        } catch (const Fault&) {
            return true;
        }
        return false;
    };
    CHECK(fails([&] { own.at(one, 1, Touch::writes); }));
    CHECK(fails([&] { own.release(one); }));
    CHECK(fails([&] { own.at(two, 101, Touch::writes); }));
    own.at(two, 8, Touch::writes);
    own.at(two, 8, Touch::reads);
    CHECK(fails([&] { own.at(two + 1, 8, Touch::reads); }));
    own.at(two, 100, Touch::writes);
    own.release(two);
    for (int i = 0; i < 300; ++i) {  // until its address comes again
        const Address next = own.allocate(100);
        CHECK(fails([&] { own.at(next, 1, Touch::reads); }));
        own.release(next);
    }
}

void parting() {
    // Each thread goes round as often as its number says; then all shuffle
    const auto rounds = run(R"(
        mov.u32 %r0, 0; mov.u32 %r1, %r8;
        again: setp.eq.u32 %p0, %r1, 0; @%p0 bra done; add.u32 %r0, %r0, %r1; sub.u32 %r1, %r1, 1; bra again;
        done: shfl.sync.bfly.b32 %r2|%p1, %r0, 1, 31, -1; cvt.u64.u32 %d0, %r2; st.global.u64 [%d7], %d0;)");
    for (uint64_t i = 0; i < 32; ++i) CHECK(rounds[i] == (i ^ 1) * ((i ^ 1) + 1) / 2);

    // Halves that meet among themselves, at different places
    const auto halves = run(R"(
        setp.lt.u32 %p0, %r8, 16; @%p0 bra low;
        shfl.sync.down.b32 %r2|%p1, %r8, 1, 0x101f, 0xffff0000; bra done;
        low: shfl.sync.down.b32 %r2|%p1, %r8, 2, 0x101f, 0xffff;
        done: cvt.u64.u32 %d0, %r2; st.global.u64 [%d7], %d0;)");
    for (uint64_t i = 0; i < 32; ++i)
        CHECK(halves[i] == (i < 16 ? (i + 2 < 16 ? i + 2 : i) : (i + 1 < 32 ? i + 1 : i)));

    const auto others =
        run("shfl.sync.idx.b32 %r2|%p1, %r8, 5, 31, -1; cvt.u64.u32 %d0, %r2; st.global.u64 [%d7], %d0;");
    for (const uint64_t one : others) CHECK(one == 5);
    const auto before = run("shfl.sync.up.b32 %r2|%p1, %r8, 3, 0, -1; cvt.u64.u32 %d0, %r2; st.global.u64 [%d7], %d0;");
    for (uint64_t i = 0; i < 32; ++i) CHECK(before[i] == (i < 3 ? i : i - 3));

    for (const auto& [number, found] : {std::pair(7, 1), std::pair(40, 0)})
        for (const uint64_t one :
             run("setp.eq.u32 %p0, %r8, " + std::to_string(number) +
                 "; vote.sync.any.pred %p1, %p0, -1; selp.u64 %d0, 1, 0, %p1; st.global.u64 [%d7], %d0;"))
            CHECK(one == uint64_t(found));

    const std::string leave = "setp.eq.u32 %p0, %r8, 3; @%p0 bra end;\n", end = "\nend:";
    const std::string shuffle = "shfl.sync.bfly.b32 %r2|%p1, %r8, 1, 31, ";
    CHECK(refused(leave + shuffle + "-1;" + end, "do not come"));
    CHECK(refused("setp.ne.u32 %p0, %r8, 3; @%p0 bra all; ret; all: " + shuffle + "-1;", "have left"));
    CHECK(refused(shuffle + "-1;", "never were", 16));
    CHECK(refused(leave + "vote.sync.any.pred %p1, %p0, -1;" + end, "do not come"));
    CHECK(refused(leave + shuffle + "8;" + end, "not among those whom it names"));
    CHECK(
        refused("setp.lt.u32 %p0, %r8, 16; selp.b32 %r1, 0xffff, 0xffff0000, %p0;"
                "shfl.sync.bfly.b32 %r2|%p1, %r8, 16, 31, %r1;",
                "who is not among them"));
    CHECK(refused(leave + shuffle + "-1; bra end; end: " + shuffle + "-1;", "do not come"));
    CHECK(refused(leave + "bar.sync 0;" + end, "do not come", 64));
    CHECK(refused("setp.lt.u32 %p0, %r8, 32; @%p0 bra end; bar.sync 0; end:", "not all threads", 64));
}

void races() {
    const std::string lead = "setp.ne.u32 %p0, %r8, 0; @%p0 bra all; st.shared.u64 [own], 9; all:\n";
    const std::string look = "ld.shared.u64 %d0, [own]; st.global.u64 [%d7], %d0;\n";
    const std::string begin =
        "mov.u64 %d0, 0; setp.ne.u32 %p0, %r8, 0; @%p0 bra begun; st.shared.u64 [own], %d0; begun: bar.sync 0;\n";
    CHECK(refused(begin + lead + look, "no meeting between", 64));
    for (const uint64_t one : run(lead + "bar.sync 0;" + look, 64)) CHECK(one == 9);
    CHECK(refused(lead + "bar.sync 0;" + look + "@%p0 bra more; st.shared.u64 [own], 9; more:", "no meeting between",
                  64));
    for (const uint64_t one : run(lead + "bar.warp.sync -1;" + look, 32)) CHECK(one == 9);
    CHECK(refused(begin + lead + "bar.warp.sync -1;" + look, "no meeting between", 64));
    const std::string count = "mov.u32 %r0, 1; atom.shared.add.u32 %r1, [own], %r0;\n";
    for (const uint64_t one : run(lead + "bar.sync 0;" + count + "bar.sync 0;" + look, 64)) CHECK(one == 9 + 64);
    CHECK(refused(count, "before anybody writes", 64));
    CHECK(refused(look, "before anybody writes"));
}

void fused() {
    // A power of two, and one that makes a subnormal number vanish beside a sum
    leaves_float("fma.rn.f32 %f0, 0f3FC00001, 0f3E000000, 0f3C000000;", 0x3e480001);
    leaves_float("fma.rn.f32 %f0, 0f00000003, 0f3E000000, 0f3C000000;", 0x3c000000);
    CHECK(refused("fma.rn.f32 %f0, 0f3F800003, 0f3F800003, 0fBF800000;", "rounds otherwise"));
    // The threads that are elsewhere are not looked at
    leaves(
        "mov.b32 %f1, %r8; setp.lt.u32 %p0, %r8, 64; @%p0 bra on; fma.rn.f32 %f0, 0f3F800003, 0f3F800003, 0fBF800000;"
        " on: mov.u64 %d0, 1;",
        1);
}

void names() {
    CHECK(refused("fma.rn.f64 %d0, %d1, %d2, %d3;", "fma.rn.f64 is not known"));
    CHECK(refused("add.f32 %f0, %f1, %f2;", "not known"));
    CHECK(refused("mul.rn.ftz.f32 %f0, %f1, %f2;", "not known"));
    CHECK(refused("add.s32 %r0, %r1, %d0;", "%d0 has 8 bytes, not 4"));
    CHECK(refused("add.s32 %r0, %r1, %nothing;", "there is no %nothing"));
    CHECK(refused("here: here: bra here;", "twice"));
    CHECK(refused("bra nowhere;", "no label nowhere"));
    CHECK(refused("call.uni other, ();", "not known"));
}

}  // namespace

int main() {
    whole_numbers();
    floating_numbers();
    memory();
    parting();
    races();
    fused();
    names();
    return result();
}
