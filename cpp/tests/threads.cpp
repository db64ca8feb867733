// The pool: work that threads share is done once, whoever calls, how often and with how many threads. Made to run under
// ThreadSanitizer.
#include "../cpu/threads.hpp"

#include <chrono>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "../cpu/step.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

/// Shares out twice as much work as there are threads. The counts are plain: the region's end is what makes them seen.
void region(int count) {
    std::vector<int> done(size_t(2 * count), 0), calls(size_t(count), 0);
    std::atomic<int> next{0}, inside{0};
    const auto caller = std::this_thread::get_id();
    cpu::together(count, [&](int index) {
        ++inside;
        CHECK(index >= 0 && index < count && (index == 0) == (std::this_thread::get_id() == caller));
        ++calls[size_t(index)];
        for (int i; (i = next++) < 2 * count;) ++done[size_t(i)];
        --inside;
    });
    CHECK(inside == 0);
    for (const int times : done) CHECK(times == 1);
    for (const int times : calls) CHECK(times <= 1);
    CHECK(calls[0] == 1);
}

void counts_grow_and_shrink() {
    for (int count = 1; count <= 40; ++count) region(count);
    for (int count = 40; count >= 1; --count) region(count);
    Random random(5);
    for (int i = 0; i < 2000; ++i) region(1 + int(random.below(4)));
}

/// Threads that have gone to sleep in between.
void after_a_pause() {
    for (int i = 0; i < 20; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        region(3);
    }
}

/// A thread that sleeps is not woken where its caller runs, and may run there again afterwards.
void woken_elsewhere() {
#if defined(__linux__)
    cpu_set_t all;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    if (CPU_COUNT(&all) < 2) return;
    region(2);  // what it starts may run wherever this thread may
    bool away = false, back = false;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!(away && back) && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        const int here = sched_getcpu();
        cpu_set_t mine, theirs = all;
        CPU_ZERO(&mine);
        CPU_SET(here, &mine);
        CHECK(sched_setaffinity(0, sizeof mine, &mine) == 0);
        const auto look = [&] {
            std::atomic<bool> looked{false};
            cpu::together(2, [&](int index) {
                if (index == 1) {
                    sched_getaffinity(0, sizeof theirs, &theirs);
                    looked = true;
                }
                while (!looked && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
            });
        };
        look();
        away |= !CPU_ISSET(here, &theirs) && CPU_COUNT(&theirs) == CPU_COUNT(&all) - 1;
        look();  // before it sleeps again
        back |= bool(CPU_EQUAL(&theirs, &all));
        CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    }
    CHECK(away);
    CHECK(back);
#endif
}

/// A region inside a region finds the pool busy and works alone.
void nested() {
    cpu::together(4, [&](int) {
        std::vector<int> calls;
        const auto caller = std::this_thread::get_id();
        cpu::together(5, [&](int index) {
            calls.push_back(index);
            CHECK(std::this_thread::get_id() == caller);
        });
        CHECK(calls == std::vector<int>{0});
    });
}

void many_callers() {
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 6; ++caller)
        callers.emplace_back([caller] {
            for (int i = 0; i < 300; ++i) region(2 + (caller + i) % 4);
        });
    for (std::thread& caller : callers) caller.join();
}

/// Every thread that is asked for takes part, at the same time, if the caller is busy for long enough.
void really_together() {
    for (const int count : {2, 5, 3}) {
        std::atomic<int> here{0};
        cpu::together(count, [&](int) {
            ++here;
            const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
            while (here < count && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
        });
        CHECK(here == count);
    }
}

/// A thread that comes late is not waited for, and what the region had on its stack is not touched.
void latecomers() {
    for (int i = 0; i < 300; ++i) {
        std::atomic<int> calls{0};
        cpu::together(4, [&](int) { ++calls; });
        CHECK(calls >= 1 && calls <= 4);
    }
}

/// Plans of their own, stepped by several threads, while the number of threads changes.
void steps_at_once() {
    constexpr int64_t size = 150'001;
    const auto stepped = [](int changes) {
        std::vector<float> param(size, 1), grad(size);
        for (int64_t i = 0; i < size; ++i) grad[size_t(i)] = float(i % 1000) * 0.001F;
        Plan plan;
        plan.groups.push_back({method::SGD(), {}, 0.25});
        Tensor tensor;
        tensor.size = size;
        tensor.buffers = {param.data(), grad.data(), {}};
        plan.tensors.push_back(tensor);
        for (int step = 0; step < 8; ++step) {
            if (changes) cpu::set_thread_count(1 + (step + changes) % 4);
            cpu::step(plan);
        }
        return param;
    };
    cpu::set_thread_count(1);
    const std::vector<float> expected = stepped(0);
    CHECK(expected[1] != 1 && expected[size - 2] != 1);
    std::vector<std::thread> callers;
    for (int caller = 1; caller <= 4; ++caller)
        callers.emplace_back([&, caller] { CHECK(stepped(caller) == expected); });
    for (std::thread& caller : callers) caller.join();
}

}  // namespace

int main() {
    cpu::set_thread_count(3);
    CHECK(cpu::thread_count() == 3);
    woken_elsewhere();
    really_together();
    counts_grow_and_shrink();
    latecomers();
    after_a_pause();
    nested();
    many_callers();
    steps_at_once();
    return result();
}
