// What a kernel works on: memory, described without Python and without a device's own types.
#pragma once

#include <cstdint>

namespace fusedstep {

enum class Type : int { float32, float64 };
constexpr int type_count = 2;
constexpr int64_t size_of(Type type) { return type == Type::float32 ? 4 : 8; }

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

/// The elements of one tensor as a loop sees them: dense, in memory order.
struct Buffers {
    static constexpr int most_states = 4;

    void* param = nullptr;
    const void* grad = nullptr;
    void* state[most_states] = {};
};

/// A ring of planes that lie one behind the other.
struct Ring {
    void* data = nullptr;
    int64_t stride = 0;  ///< elements from plane to plane
    int64_t planes = 0;
};

}  // namespace fusedstep
