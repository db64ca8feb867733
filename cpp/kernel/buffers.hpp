// What a kernel works on: memory, described without Python and without a device's own types.
#pragma once

#include <cstdint>

#include "../rules/rule.hpp"

namespace fusedstep {

/// What an element is. Rules calculate in the first two; `code8` is a byte in a block with a scale (storage/code8.hpp).
enum class Type : int { float32, float64, float16, bfloat16, code8 };
constexpr int arithmetic_types = 2, array_types = 4;
FS_RULE constexpr int64_t size_of(Type type) {
    constexpr int64_t sizes[] = {4, 8, 2, 2, 1};
    return sizes[int(type)];
}

/// What a step of a parameter of this type calculates in.
constexpr Type arithmetic(Type param) { return param == Type::float64 ? Type::float64 : Type::float32; }

/// Where memory lives. Kinds and numbers are DLPack's.
struct Device {
    enum Kind : int { cpu = 1, cuda = 2 };
    Kind kind = cpu;
    int index = 0;

    bool operator==(const Device&) const = default;
};

/// Which elements of a larger tensor these are: a shard keeps the numbering of the whole.
struct Extent {
    int64_t offset = 0, whole = 0;
};

/// The squares of so many elements are added up apart, and then so many of these sums; both are counted in the whole
/// tensor.
constexpr int64_t sum_block = 4096, sum_page = 64;

/// The elements of one tensor as a loop sees them: dense, in memory order.
struct Buffers {
    static constexpr int most_states = 4;

    void* param = nullptr;
    const void* grad = nullptr;
    void* state[most_states] = {};

    bool operator==(const Buffers&) const = default;
};

/// A ring of planes that lie one behind the other.
struct Ring {
    void* data = nullptr;
    int64_t stride = 0;  ///< elements from plane to plane
    int64_t planes = 0;

    bool operator==(const Ring&) const = default;
};

}  // namespace fusedstep
