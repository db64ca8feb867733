// The kernels, put into a stream.
#pragma once

#include "../kernel/plan.hpp"
#include "../kernel/stats.hpp"
#include "prepare.hpp"
#include "runtime.hpp"

namespace fusedstep::cuda {

/// What becomes of the step, with Σg² of every task where the stages ask for them.
void measure(const Table& table, const Stages& stages, Stream stream);

/// One launch for all groups of a method.
void prepare(const Table& table, int method, const Decision& decision, Stream stream);

/// Loads a kernel of update(), and those of measure(): what is launched for the first time while a graph is captured
/// might have to be loaded, and wait for that.
void make_ready(int rule, Type type, Path path);

/// One launch for all tasks that take this rule in this type on this path.
void update(const Table& table, int rule, Type type, Path path, Stream stream);

/// θ − f·v of every task: see displace.hpp.
void displace(const Table& table, Stream stream);

/// The sums of a reading's blocks, and its counters, which are added to.
void read(const Reading& reading, BlockSums* blocks, uint64_t* counters, Stream stream);

}  // namespace fusedstep::cuda
