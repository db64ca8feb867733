// What a step on a GPU works on: the tensors of its list and the chunks that they are cut into, in the device's memory.
#pragma once

#include "../kernel/backend.hpp"
#include "../kernel/work.hpp"

namespace fusedstep::cuda {

/// Elements that a block of threads takes at a time; counted in the whole tensor, so that a shard is cut like the
/// whole, and no chunk has two upper halves of an element's number.
constexpr int64_t chunk_blocks = 2, chunk = chunk_blocks * sum_block;

/// What is done with a tensor; there are kernels for each.
enum class Path : int {
    bare,    ///< every array is of the type that its rule calculates in, and nothing is carried along but a factor
    halves,  ///< likewise, but every array is of bfloat16
    mixed,   ///< likewise, but each of float32 or bfloat16
    codes,   ///< likewise, but the states are codes, and the others each of float32 or bfloat16
    full,    ///< everything
};

/// A tensor that takes part. The host writes it; it stays while the arrays do.
struct Task {
    int tensor = 0;  ///< its place in the plan
    int group = 0;
    Type type = Type::float32;  ///< that its rule calculates in
    Path path = Path::bare;
    bool aligned = false;  ///< every array begins where four of its elements can be read at once
    int64_t size = 0, offset = 0;
    Buffers buffers;
    Cargo cargo;
    Ring ring;
    double* carry = nullptr;

    bool operator==(const Task&) const = default;
    /// Whether it takes the same kernel, if both are at the same step.
    bool like(const Task& other) const { return group == other.group && type == other.type && path == other.path; }

    /// The first chunk is short where a shard begins within one.
    FS_ANYWHERE int64_t begin(int64_t number) const {
        const int64_t at = number * chunk - offset % chunk;
        return at > 0 ? at : 0;
    }
    FS_ANYWHERE int64_t end(int64_t number) const {
        const int64_t at = (number + 1) * chunk - offset % chunk;
        return at < size ? at : size;
    }
    /// The upper half of the numbers that a chunk's elements have in the whole tensor
    FS_ANYWHERE int64_t high(int64_t number) const { return (offset + begin(number)) >> 32; }
    FS_ANYWHERE int64_t chunks() const { return size ? (offset % chunk + size + chunk - 1) / chunk : 0; }
};

/// What a tensor does in this step. The device writes it.
struct Turn {
    static constexpr int none = -1;  ///< in place of a rule: the step is skipped

    Update update;
    Border border;
    double factor = 1;
    int64_t step = 0;
    uint64_t root = 0;  ///< of random bits
};

/// The tasks of one group, which stand behind each other.
struct Members {
    int group;  ///< its place in the plan
    int begin, end;
    int method;       ///< its place among all
    int64_t options;  ///< the first byte of the group's

    bool operator==(const Members&) const = default;
};

struct Chunk {
    int task;
    int number;  ///< among the task's
};

struct Table {
    const Task* tasks;
    int task_count;
    const Chunk* chunks;  ///< those of a task behind each other
    int64_t chunk_count;
    const int64_t* first_chunks;  ///< of each task
    const Members* members;       ///< of each group that has tasks
    int member_count;
    const char* options;
    Turn* turns;          ///< of each task
    int64_t* steps;       ///< of each tensor of the plan
    const double* rates;  ///< learning rates of each group
    double* sums;         ///< of the squares of each block
    double* squares;      ///< of each task
    Progress* progress;
    int run_bits = 0;  ///< an update's team takes 2^run_bits chunks behind each other
};

}  // namespace fusedstep::cuda
