// What a method makes of its options, once per step: a rule and its numbers.
#pragma once

#include <cstdint>
#include <cstring>

#include "../rules/list.hpp"

namespace fusedstep {

/// When a step happens.
struct Clock {
    int64_t step;  ///< t of this parameter, from 1
    double lr;     ///< η, from the group or its schedule
    double carry;  ///< the scalar that a method carries from step to step (NAdam's product of μ)
};

/// A rule by its place in the list, with its coefficients in double.
struct Update {
    static constexpr int most_numbers = 12;

    int rule = 0;
    double numbers[most_numbers] = {};
    bool moves = true;   ///< false: θ stays in this step, and no decay moves it either
    int64_t window = 0;  ///< planes of the ring, 0 where there is none
    int64_t slot = 0;    ///< the plane that this step writes
    double carry = 1;    ///< the next Clock's

    template <class Rule>
    FS_ANYWHERE static Update of(const Rule& rule) {
        static_assert(sizeof(Rule) % sizeof(double) == 0 && sizeof(Rule) <= sizeof(numbers));
        Update update;
        update.rule = Rules::place<Rule>;
        std::memcpy(update.numbers, &rule, sizeof(Rule));
        return update;
    }

    template <class Phi, class Psi>
    FS_ANYWHERE static Update of(const Phi& phi, const Psi& psi) {
        return of(Adaptive<Phi, Psi>{phi, psi});
    }
};

}  // namespace fusedstep
