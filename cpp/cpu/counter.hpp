// A number that threads wait for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace fusedstep::cpu {

// Elsewhere than on Linux, a thread that sleeps by an atomic of libstdc++ looks at it first and then lies down. A
// change in between does not wake it (GCC 12, _M_do_wait in bits/atomic_wait.h).
#if defined(__GLIBCXX__) && !defined(__linux__)
#define FUSEDSTEP_SLEEPS_BY_LOCK 1
#endif

class Counter {
public:
    int load() const { return value_.load(std::memory_order_acquire); }

    void reset() { value_.store(0, std::memory_order_relaxed); }

    /// Adds one, and wakes whoever sleeps.
    void add() {
        value_.fetch_add(1, std::memory_order_acq_rel);
#if defined(FUSEDSTEP_SLEEPS_BY_LOCK)
        {
            const std::lock_guard lock(mutex_);
        }  // whoever has seen no change sleeps by now
        changed_.notify_all();
#else
        value_.notify_all();
#endif
    }

    /// Whether there is a change before it is time to sleep.
    bool has_changed(int old) const {
        for (int i = 0; i < looks; ++i) {
            if (load() != old) return true;
            pause();
        }
        return false;
    }

    void sleep(int old) {
#if defined(FUSEDSTEP_SLEEPS_BY_LOCK)
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return load() != old; });
#else
        value_.wait(old, std::memory_order_acquire);
#endif
    }

private:
    /// Some 50 us, about what waking a thread costs
    static constexpr int looks = 2000;

    static void pause() {
#if defined(__x86_64__) && !defined(_MSC_VER)
        __builtin_ia32_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
        __asm__ volatile("yield");
#else
        std::this_thread::yield();
#endif
    }

    std::atomic<int> value_{0};
#if defined(FUSEDSTEP_SLEEPS_BY_LOCK)
    std::mutex mutex_;
    std::condition_variable changed_;
#endif
};

}  // namespace fusedstep::cpu
