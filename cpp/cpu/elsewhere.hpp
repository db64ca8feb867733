// Where a thread that sleeps is woken.
//
// In a virtual machine Linux takes a processor that the host has put to sleep for one that is busy. It leaves a woken
// thread to wait behind the one that has woken it, for milliseconds, while the other processor has nothing to do.
#pragma once

#include <atomic>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace fusedstep::cpu {

class Elsewhere {
#if defined(__linux__)
public:
    /// The thread whose place this is, before anybody sends it away.
    void belongs_to(std::thread& thread) { thread_ = thread.native_handle(); }

    /// Keeps the thread, which sleeps, from the processor of the one that calls this.
    void send() {
        if (left_.load(std::memory_order_acquire) >= 0) return;  // it has not come back yet
        const int here = sched_getcpu();
        cpu_set_t allowed;
        if (here < 0 || pthread_getaffinity_np(thread_, sizeof allowed, &allowed) != 0) return;
        if (!CPU_ISSET(here, &allowed) || CPU_COUNT(&allowed) < 2) return;
        CPU_CLR(here, &allowed);
        // In this order: who comes back meanwhile, too early, does so when it is woken the next time.
        if (pthread_setaffinity_np(thread_, sizeof allowed, &allowed) == 0)
            left_.store(here, std::memory_order_release);
    }

    /// Lets the thread that calls this run there again.
    void come_back() {
        const int left = left_.exchange(-1, std::memory_order_acq_rel);
        cpu_set_t allowed;
        if (left < 0 || pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) != 0) return;
        CPU_SET(left, &allowed);
        pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
    }

private:
    pthread_t thread_{};
    std::atomic<int> left_{-1};  ///< a processor; -1: none
#else
public:
    void belongs_to(std::thread&) {}
    void send() {}
    void come_back() {}
#endif
};

}  // namespace fusedstep::cpu
