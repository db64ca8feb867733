// The processor's floating-point mode: round to nearest, subnormals kept, whatever the caller has set.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#elif defined(_M_ARM64)
#include <intrin.h>
#endif

namespace fusedstep {

/// Sets the default mode for a scope and gives back the caller's mode, its sticky flags included.
class FloatMode {
public:
    FloatMode() : saved_(read()) {
        if (saved_ != standard) write(standard);
    }
    ~FloatMode() { write(saved_); }
    FloatMode(const FloatMode&) = delete;
    FloatMode& operator=(const FloatMode&) = delete;

private:
#if defined(__x86_64__) || defined(_M_X64)
    using Register = unsigned;
    static constexpr Register standard = 0x1f80;
    static Register read() { return _mm_getcsr(); }
    static void write(Register mode) { _mm_setcsr(mode); }
#elif defined(_M_ARM64) || defined(__aarch64__)
    /// FPCR, and above it FPSR, which has the flags.
    using Register = uint64_t;
    static constexpr Register standard = 0;
#if defined(_M_ARM64)
    static Register read() { return uint64_t(_ReadStatusReg(ARM64_FPSR)) << 32 | uint32_t(_ReadStatusReg(ARM64_FPCR)); }
    static void write(Register both) {
        _WriteStatusReg(ARM64_FPCR, int64_t(uint32_t(both)));
        _WriteStatusReg(ARM64_FPSR, int64_t(both >> 32));
    }
#else
    static Register read() {
        uint64_t mode, flags;
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        __asm__ volatile("mrs %0, fpsr" : "=r"(flags));
        return flags << 32 | uint32_t(mode);
    }
    static void write(Register both) {
        __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t(uint32_t(both))));
        __asm__ volatile("msr fpsr, %0" : : "r"(both >> 32));
    }
#endif
#else
    using Register = int;
    static constexpr Register standard = 0;
    static Register read() { return 0; }
    static void write(Register) {}
#endif

    Register saved_;
};

}  // namespace fusedstep
