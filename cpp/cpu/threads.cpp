#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "../kernel/float_mode.hpp"
#include "counter.hpp"
#include "elsewhere.hpp"
#include "processors.hpp"

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif

namespace fusedstep::cpu {
namespace {

/// Signals are the program's: threads that are started in this scope leave them to its own.
class SignalsBlocked {
public:
#if defined(_WIN32)
    SignalsBlocked() = default;
#else
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
#endif
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
#if !defined(_WIN32)
    sigset_t before_;
#endif
};

class Pool {
public:
    void run(int count, const std::function<void(int)>& help) {
        const std::unique_lock region(region_, std::try_to_lock);
        const int invited = region.owns_lock() ? grow(count - 1) : 0;
        if (invited == 0) return help(0);
        help_ = &help;
        done_.reset();
        places_.store(invited, std::memory_order_release);
        for (int i = 0; i < invited; ++i)
            if (helpers_[size_t(i)].sleeps.load(std::memory_order_acquire)) helpers_[size_t(i)].elsewhere.send();
        regions_.add();
        help(0);
        // From here on nobody can begin. Threads that came late have left the number below 0.
        const int began = invited - std::max(0, places_.exchange(0, std::memory_order_acq_rel));
        for (int over = done_.load(); over != began; over = done_.load())
            if (!done_.has_changed(over)) done_.sleep(over);
    }

private:
    struct Helper {
        std::atomic<bool> sleeps{false};
        Elsewhere elsewhere;
    };

    /// Starts threads until there are `wanted` and returns how many of those there are: a system may give fewer.
    int grow(int wanted) {
        if (int(helpers_.size()) >= wanted) return wanted;
        [[maybe_unused]] const SignalsBlocked blocked;
        while (int(helpers_.size()) < wanted) {
            Helper& helper = helpers_.emplace_back();
            try {
                std::thread thread(&Pool::serve, this, std::ref(helper), regions_.load());
                helper.elsewhere.belongs_to(thread);
                thread.detach();
            } catch (const std::system_error&) {
                helpers_.pop_back();
                return int(helpers_.size());
            }
        }
        return wanted;
    }

    void serve(Helper& own, int seen) {
        const FloatMode mode;  // not the one of whoever happened to start this thread
        for (;;) {
            seen = await_region(own, seen);
            // A place belongs to the region that is open now, whichever region the thread woke for.
            const int place = places_.fetch_sub(1, std::memory_order_acq_rel);
            if (place > 0) {
                (*help_)(place);
                done_.add();
            }
            own.elsewhere.come_back();
        }
    }

    int await_region(Helper& own, int seen) {
        if (!regions_.has_changed(seen)) {
            own.sleeps.store(true, std::memory_order_release);
            regions_.sleep(seen);
            own.sleeps.store(false, std::memory_order_release);
        }
        return regions_.load();
    }

    std::mutex region_;
    std::deque<Helper> helpers_;  ///< which stay where they are
    const std::function<void(int)>* help_ = nullptr;
    alignas(64) Counter regions_;             ///< opened so far
    alignas(64) std::atomic<int> places_{0};  ///< for threads that may still begin
    alignas(64) Counter done_;                ///< calls that are over
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

void set_thread_count(int count) { chosen.store(std::max(count, 0), std::memory_order_relaxed); }

void together(int count, const std::function<void(int)>& help) {
    if (count == 1) return help(0);
    std::call_once(created, create);
    pool->run(count, help);
}

}  // namespace fusedstep::cpu
