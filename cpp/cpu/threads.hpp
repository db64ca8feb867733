// One pool of threads for the process, started when first needed.
//
// No OpenMP: this library lives inside other people's processes, where a second OpenMP runtime crashes and a forked
// child of libgomp hangs. After a fork the child has a pool of its own; a caller that finds the pool busy works alone;
// the threads are never joined, so that nothing waits at exit.
#pragma once

#include <functional>

namespace fusedstep::cpu {

constexpr int most_threads = 1024;

/// How many threads a step may use. A new number holds for the steps that begin after it; 0 gives the choice back.
int thread_count();
void set_thread_count(int count);

/// Calls help(0) in the caller and help(1) … help(count − 1) in threads of the pool, and returns when all calls that
/// began are over. Each call must do what is left of the work, whatever the others do: threads that come too late,
/// because the machine is busy, are not waited for and not called. It must not throw.
void together(int count, const std::function<void(int)>& help);

}  // namespace fusedstep::cpu
