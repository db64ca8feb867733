// Which target is chosen: by made-up processors, by name, and on this processor.
#include "../cpu/targets.hpp"

#include <string_view>

#include "check.hpp"

namespace {

using namespace fusedstep;

std::string_view first_that_runs(const cpu::Features& features) {
    for (const Target* target : cpu::built_targets())
        if (cpu::runs(*target, features)) return target->name;
    return "none";
}

#if defined(__x86_64__)

void made_up_processors() {
    CHECK(first_that_runs({true, true, true}) == "x86-64-v4");
    CHECK(first_that_runs({true, true, false}) == "x86-64-v3");
    CHECK(first_that_runs({true, false, false}) == "x86-64-v2");
    CHECK(first_that_runs({false, false, false}) == "none");
}

#ifdef __GNUC__
/// The compiler's own detection agrees.
void this_processor() {
    __builtin_cpu_init();
    const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    const cpu::Features found = cpu::detect();
    CHECK(found.v2 == v2 && found.v3 == v3 && found.v4 == v4);
}
#endif

#else

void made_up_processors() { CHECK(first_that_runs({}) == "neon"); }

#endif

}  // namespace

int main() {
    made_up_processors();
#if defined(__x86_64__) && defined(__GNUC__)
    this_processor();
#endif

    const std::string_view best = first_that_runs(cpu::detect());
    if (best == "none") {
        CHECK(cpu::active_target() == nullptr);
        return result();
    }
    CHECK(cpu::active_target()->name == best);
    for (const Target* target : cpu::built_targets()) {
        const Target* const before = cpu::active_target();
        const bool forced = cpu::force_target(target->name);
        CHECK(forced == cpu::runs(*target));
        CHECK(cpu::active_target() == (forced ? target : before));
        CHECK(!cpu::force_target("x86-64-v9") && !cpu::force_target("X86-64-V2"));
        CHECK(cpu::active_target() == (forced ? target : before));
    }
    CHECK(cpu::force_target("") && cpu::active_target()->name == best);
    return result();
}
