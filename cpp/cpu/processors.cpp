#include "processors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "threads.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fusedstep::cpu {
namespace {

/// The number in an environment variable; OMP_NUM_THREADS may hold a list, whose first entry counts. 0: none.
int from_environment(const char* name) {
    const char* text = std::getenv(name);
    if (!text) return 0;
    char* end = nullptr;
    const long count = std::strtol(text, &end, 10);
    if (end == text || (*end && *end != ',') || count < 1) return 0;
    return int(std::min<long>(count, most_threads));
}

int from_affinity() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
    return int(std::thread::hardware_concurrency());
}

/// The control group's share of time, in processors, rounded up; 0: not limited.
int from_control_group() {
#if defined(__linux__)
    double quota = 0, period = 0;
    std::ifstream second("/sys/fs/cgroup/cpu.max");
    if (second) {
        second >> quota >> period;  // "max" fails here and leaves 0
    } else {
        std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
        std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
    }
    if (quota > 0 && period > 0) return int(std::ceil(quota / period));
#endif
    return 0;
}

ThreadDefault find() {
    for (const char* name : {"FUSEDSTEP_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const int count = from_environment(name)) return {count, name};
    const int mask = std::clamp(from_affinity(), 1, most_threads), share = from_control_group();
    if (share && share < mask) return {share, "control group"};
    return {mask, "affinity mask"};
}

}  // namespace

const ThreadDefault& default_threads() {
    static const ThreadDefault found = find();
    return found;
}

}  // namespace fusedstep::cpu
