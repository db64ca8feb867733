#include "targets.hpp"

#include <atomic>
#include <cstdint>

#include "target_list.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#define FUSEDSTEP_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace fusedstep::cpu {
namespace {

#ifdef FUSEDSTEP_X86

struct Registers {
    uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf) {
    Registers r;
#if defined(_MSC_VER)
    int out[4];
    __cpuid(out, 0);
    const bool extended = leaf & 0x80000000u;
    if (!extended && leaf > uint32_t(out[0])) return r;
    __cpuidex(out, int(leaf), 0);
    r = {uint32_t(out[0]), uint32_t(out[1]), uint32_t(out[2]), uint32_t(out[3])};
#else
    __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
#endif
    return r;
}

/// XCR0: the registers that the operating system saves.
uint64_t saved_registers() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t(high) << 32 | low;
#endif
}

constexpr bool all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }
constexpr uint64_t bits() { return 0; }
template <class... More>
constexpr uint64_t bits(int first, More... more) {
    return uint64_t(1) << first | bits(more...);
}

#endif

}  // namespace

// The bits are those of the x86-64 psABI's micro-architecture levels.
Features detect() {
    Features found;
#ifdef FUSEDSTEP_X86
    const Registers one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001u);
    // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF
    found.v2 = all(one.c, bits(0, 9, 13, 19, 20, 23)) && all(extended.c, bits(0));
    // OSXSAVE, then FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT; XMM and YMM saved
    found.v3 = found.v2 && all(one.c, bits(27)) && all(saved_registers(), bits(1, 2)) &&
               all(one.c, bits(12, 22, 28, 29)) && all(seven.b, bits(3, 5, 8)) && all(extended.c, bits(5));
    // AVX512 F, DQ, CD, BW, VL; opmask and ZMM saved
    found.v4 = found.v3 && all(saved_registers(), bits(5, 6, 7)) && all(seven.b, bits(16, 17, 28, 30, 31));
#endif
    return found;
}

std::span<const Target* const> built_targets() { return target_list; }

bool runs(const Target& target, const Features& features) {
    const std::string_view name = target.name;
    if (name == "x86-64-v4") return features.v4;
    if (name == "x86-64-v3") return features.v3;
    if (name == "x86-64-v2") return features.v2;
    return true;  // the compiler's own baseline: NEON on arm64
}

bool runs(const Target& target) {
    static const Features features = detect();
    return runs(target, features);
}

namespace {

const Target* best() {
    for (const Target* target : target_list)
        if (runs(*target)) return target;
    return nullptr;
}

std::atomic<const Target*>& active() {
    static std::atomic<const Target*> target = best();
    return target;
}

}  // namespace

const Target* active_target() { return active(); }

bool force_target(std::string_view name) {
    const Target* wanted = name.empty() ? best() : nullptr;
    for (const Target* target : target_list)
        if (target->name == name && runs(*target)) wanted = target;
    if (wanted) active() = wanted;
    return wanted;
}

}  // namespace fusedstep::cpu
