// The formats that a piece of code is made for: what it knows of its arrays beforehand, it does not ask.
#pragma once

#include "../kernel/cargo.hpp"
#include "../rules/stage.hpp"

namespace fusedstep::cuda {

/// What may be known of every array that a piece of code is made for.
struct Fact {
    bool known = false, is = false;

    FS_RULE constexpr bool otherwise(bool told) const { return known ? is : told; }
};

/// The formats that a piece of code is made for.
struct Kinds {
    unsigned types;               ///< a bit for each
    bool split = true;            ///< whether numbers may lie in two arrays
    Fact sign = {}, chance = {};  ///< of codes: whether there are numbers below zero; whether rounding is stochastic
    bool near = false;            ///< elements are less than 2^32 from where an array is said to begin

    static FS_RULE constexpr Kinds only(Type type) { return {1u << int(type), false}; }
    /// Of a parameter, which is no codes
    static FS_RULE constexpr Kinds numbers() { return {~(1u << int(Type::code8))}; }
    /// Of a copy of it
    static FS_RULE constexpr Kinds plain() { return {numbers().types, false, {}, {true, false}}; }
    FS_RULE constexpr Kinds operator|(Kinds other) const { return {types | other.types, split || other.split}; }
    FS_RULE constexpr bool has(Type type) const { return types >> int(type) & 1; }

    /// Whether an array is of a type; known beforehand where it can be of no other, or not of this.
    FS_RULE bool are(Type type, const Format& format) const {
        return has(type) && (types == 1u << int(type) || format.type == type);
    }
    FS_RULE bool are_signed(const Format& format) const { return sign.otherwise(format.is_signed); }
    FS_RULE bool are_random(const Format& format) const {
        return chance.otherwise(format.rounding == Rounding::stochastic);
    }
};
constexpr Kinds every_kind{~0u};

}  // namespace fusedstep::cuda
