// The processor's floating-point mode: round to nearest, subnormals kept, whatever the caller has set.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#elif defined(_M_ARM64)
#include <intrin.h>
#endif

namespace fusedstep::cpu {

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
#elif defined(_M_ARM64)
    using Register = int64_t;
    static constexpr Register standard = 0;
    static Register read() { return _ReadStatusReg(ARM64_FPCR); }
    static void write(Register mode) { _WriteStatusReg(ARM64_FPCR, mode); }
#elif defined(__aarch64__)
    using Register = uint64_t;
    static constexpr Register standard = 0;
    static Register read() {
        Register mode;
        __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void write(Register mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
    using Register = int;
    static constexpr Register standard = 0;
    static Register read() { return 0; }
    static void write(Register) {}
#endif

    Register saved_;
};

}  // namespace fusedstep::cpu
