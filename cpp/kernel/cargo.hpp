// What a step carries along on its way through a tensor, and how that tensor's memory is to be read and written, where
// it is not simply the arithmetic's own type.
#pragma once

#include <math.h>

#include <cstdint>
#include <limits>

#include "../rules/rule.hpp"
#include "buffers.hpp"

namespace fusedstep {

/// How a number comes back into an array that holds fewer bits. The last two keep the rest of it in a second array.
enum class Rounding : int { nearest, stochastic, kahan, remainder };

/// How one array holds its numbers.
struct Format {
    Type type = Type::float32;
    Rounding rounding = Rounding::nearest;
    int draw = 0;           ///< which of the step's random bits are this array's
    bool is_signed = true;  ///< of codes: whether numbers below zero occur
    void* rest = nullptr;   ///< scales of codes, or what a parameter's own array cannot hold

    bool operator==(const Format&) const = default;

    /// Whether each number lies in two arrays.
    FS_RULE bool split() const { return rounding == Rounding::kahan || rounding == Rounding::remainder; }
};

struct Cargo {
    Format param, grad, state[Buffers::most_states];

    // On the way in
    double factor = 1;  ///< gradients are multiplied with it
    double clip_value = std::numeric_limits<double>::infinity();
    bool flush_denormals = false;

    // On the way out; null where there is none
    void* average = nullptr;  ///< in the arithmetic type
    double average_decay = 0;
    void* copy = nullptr;
    Type copy_type = Type::float32;
    void* zero = nullptr;  ///< the gradient, to be set to zero

    // What random bits are made of
    uint64_t seed = 0, step = 0, tensor = 0;

    bool operator==(const Cargo&) const = default;

    /// Whether a step does more to gradients than to multiply them with a factor.
    FS_RULE bool touches() const { return clip_value < HUGE_VAL || flush_denormals; }

    /// Whether it does more on its way than that multiplication.
    FS_RULE bool carries() const { return average || copy || zero || touches(); }

    /// Whether every array is of the rule's own type, and nothing is carried along.
    bool bare(Type type) const {
        bool own = param.type == type && grad.type == type;
        for (const Format& format : state) own &= format.type == type;
        return own && !carries();
    }
};

}  // namespace fusedstep
