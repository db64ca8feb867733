// One pool of threads for the process, started when first needed.
//
// No OpenMP: this library lives inside other people's processes, where a second OpenMP runtime crashes and a forked
// child of libgomp hangs. After a fork the child has a pool of its own; a caller that finds the pool busy works alone;
// the threads are never joined, so that nothing waits at exit.
#pragma once

#include <functional>

namespace fusedstep::cpu {

constexpr int most_threads = 1024;

/// How many threads a step may use. A new number holds for the steps that begin after it.
int thread_count();
void set_thread_count(int count);

/// Calls task(0) … task(count − 1), each once and as many at a time as there are threads, and returns when all are
/// done. The task must not throw.
void parallel(int count, const std::function<void(int)>& task);

}  // namespace fusedstep::cpu
