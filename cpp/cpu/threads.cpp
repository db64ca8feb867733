#include "threads.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

#include "processors.hpp"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace fusedstep::cpu {
namespace {

/// Looks for a change before it sleeps: some 50 us, about what waking a thread costs.
constexpr int looks = 2000;

inline void pause() {
#if defined(__x86_64__) && !defined(_MSC_VER)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ volatile("yield");
#else
    std::this_thread::yield();
#endif
}

template <class T>
T await_change(const std::atomic<T>& value, T old) {
    for (int i = 0; i < looks; ++i) {
        const T now = value.load(std::memory_order_acquire);
        if (now != old) return now;
        pause();
    }
    value.wait(old, std::memory_order_acquire);
    return value.load(std::memory_order_acquire);
}

class Pool {
public:
    void run(int count, const std::function<void(int)>& task) {
        const std::unique_lock region(region_, std::try_to_lock);
        const int helpers = region.owns_lock() ? grow(count - 1) : 0;
        if (helpers > 0) {
            task_ = &task;
            pending_.store(helpers, std::memory_order_relaxed);
            order_.store((order_.load(std::memory_order_relaxed) / radix + 1) * radix + helpers,
                         std::memory_order_release);
            order_.notify_all();
        }
        task(0);
        for (int i = helpers + 1; i < count; ++i) task(i);
        if (helpers > 0)
            for (int left = pending_.load(std::memory_order_acquire); left > 0;) left = await_change(pending_, left);
    }

private:
    static constexpr int64_t radix = most_threads;

    /// Starts threads until there are `wanted` and returns how many of those there are: a system may give fewer.
    int grow(int wanted) {
        while (threads_ < wanted) {
            try {
                std::thread(&Pool::serve, this, threads_ + 1, order_.load(std::memory_order_relaxed)).detach();
            } catch (const std::system_error&) {
                return threads_;
            }
            ++threads_;
        }
        return wanted;
    }

    void serve(int number, int64_t seen) {
        for (;;) {
            seen = await_change(order_, seen);
            // A region that does not want this thread may be over already: only those it counts may touch its task.
            if (number > seen % radix) continue;
            (*task_)(number);
            if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
        }
    }

    std::mutex region_;
    int threads_ = 0;
    const std::function<void(int)>* task_ = nullptr;
    alignas(64) std::atomic<int64_t> order_{0};  ///< regions begun so far × radix + threads wanted in the newest
    alignas(64) std::atomic<int> pending_{0};
};

/// Never destroyed: its threads run until the process ends.
Pool* pool = nullptr;
std::once_flag created;

void create() {
    pool = new Pool;
#if !defined(_WIN32)
    // The child of a fork has none of the threads, and perhaps a locked region: it begins anew.
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif
}

std::atomic<int> chosen{0};

}  // namespace

int thread_count() {
    const int count = chosen.load(std::memory_order_relaxed);
    return count ? count : default_threads().count;
}

void set_thread_count(int count) { chosen.store(count, std::memory_order_relaxed); }

void parallel(int count, const std::function<void(int)>& task) {
    if (count == 1) return task(0);
    std::call_once(created, create);
    pool->run(count, task);
}

}  // namespace fusedstep::cpu
