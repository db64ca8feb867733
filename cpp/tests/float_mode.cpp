// The caller's floating-point mode: it has no part in a result, and the caller finds it again.
#include "../kernel/float_mode.hpp"

#include <cfenv>
#include <cstring>
#include <vector>

#include "../cpu/step.hpp"
#include "../cpu/threads.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

/// 1 + 2^-60 in the mode in force: 1 to the nearest and downwards, more upwards.
double sum() {
    volatile double one = 1, little = 0x1p-60;
    return one + little;
}

void scope() {
    std::feclearexcept(FE_ALL_EXCEPT);
    std::fesetround(FE_UPWARD);
    CHECK(sum() > 1);
    {
        const FloatMode mode;
        CHECK(sum() == 1);
        volatile double zero = 0, quotient = 1 / zero;
        CHECK(quotient > 0 && std::fetestexcept(FE_DIVBYZERO));
    }
    CHECK(sum() > 1 && std::fegetround() == FE_UPWARD);
    CHECK(!std::fetestexcept(FE_DIVBYZERO));  // the caller's sticky flags are the caller's
    std::fesetround(FE_TONEAREST);
}

#if defined(__x86_64__)
#define FUSEDSTEP_CAN_FLUSH 1
constexpr unsigned flags = 0x3f;
unsigned mode_register() { return _mm_getcsr(); }
void set_mode_register(unsigned mode) { _mm_setcsr(mode); }
void flush() { _mm_setcsr(_mm_getcsr() | 0x8000 | 0x0040); }  // FTZ, DAZ
#elif defined(__aarch64__)
#define FUSEDSTEP_CAN_FLUSH 1
constexpr uint64_t flags = 0;
uint64_t mode_register() {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
void set_mode_register(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
void flush() { set_mode_register(mode_register() | 1 << 24); }  // FZ
#endif

#if defined(FUSEDSTEP_CAN_FLUSH)
void flushing() {
    const auto before = mode_register();
    flush();
    const auto flushing = mode_register();
    volatile double tiny = 0x1p-1070;
    CHECK(tiny + tiny == 0);
    {
        const FloatMode mode;
        CHECK(tiny + tiny == 0x1p-1069);
    }
    CHECK((mode_register() & ~flags) == (flushing & ~flags));
    CHECK(tiny + tiny == 0);
    set_mode_register(before);
}
#endif

/// Three steps of Adam over enough elements for every thread.
std::vector<float> stepped(int threads) {
    constexpr int64_t size = 200'000;
    cpu::set_thread_count(threads);
    Random random(3);
    std::vector<float> param, grad, m(size), v(size);
    for (int64_t i = 0; i < size; ++i) {  // exact in every mode; averages of these squares are subnormal
        param.push_back(float(random.below(1 << 24)) * 0x1p-24F);
        grad.push_back(float(random.below(1 << 24)) * 0x1p-86F);
    }
    method::Adam adam;
    adam.beta1 = Power(0.9);
    adam.beta2 = Power(0.999);
    adam.epsilon.eps = 1e-20;
    Plan plan;
    plan.groups.push_back({adam, {}, 0.01});
    Tensor tensor;
    tensor.size = size;
    tensor.buffers = {param.data(), grad.data(), {m.data(), v.data()}};
    plan.tensors.push_back(tensor);
    for (int step = 0; step < 3; ++step) cpu::step(plan);
    param.insert(param.end(), v.begin(), v.end());
    return param;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

int main() {
    // First, so that the pool's threads are started in this mode and inherit it.
    std::fesetround(FE_DOWNWARD);
    const std::vector<float> downward = stepped(4);
    CHECK(std::fegetround() == FE_DOWNWARD);
    std::fesetround(FE_TONEAREST);
    const std::vector<float> nearest = stepped(1);
    CHECK(same(downward, nearest) && same(stepped(4), nearest));
    for (const int mode : {FE_UPWARD, FE_TOWARDZERO}) {
        std::fesetround(mode);
        const std::vector<float> other = stepped(3);
        CHECK(std::fegetround() == mode);
        std::fesetround(FE_TONEAREST);
        CHECK(same(other, nearest));
    }
#if defined(FUSEDSTEP_CAN_FLUSH)
    const auto before = mode_register();
    flush();
    const std::vector<float> flushed = stepped(3);
    set_mode_register(before);
    CHECK(same(flushed, nearest));
    flushing();
#endif
    scope();
    return result();
}
