// A number and its bits.
#pragma once

#include <stdint.h>

#include "../rules/rule.hpp"

namespace fusedstep {

template <class To, class From>
FS_RULE To as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}

constexpr uint32_t sign_bit = 0x80000000, infinity_bits = 0x7f800000, magnitude_bits = 0x7fffffff;

/// `yes` where the condition holds, in a form that every compiler turns into a selection.
FS_RULE uint32_t choose(bool condition, uint32_t yes, uint32_t no) { return condition ? yes : no; }

}  // namespace fusedstep
