// The state that a method keeps.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fusedstep {

/// One array of state that a method keeps for each parameter, in the order of the rule's arguments.
struct State {
    enum Kind { like_param, ring, scalar };

    std::string name;
    double initial = 0;
    Kind kind = like_param;
    int64_t planes = 1;
    bool is_signed = true;
    bool slow = false;  ///< a step changes it by so little that rounding to nearest would leave it where it is

    /// A sum or an average of squares, or what else only grows and fades slowly.
    static State squares(std::string name, double initial = 0) {
        return {std::move(name), initial, like_param, 1, false, true};
    }
    /// The largest so far: it stays where it is until there is a larger one.
    static State largest(std::string name) { return {std::move(name), 0, like_param, 1, false}; }

    bool operator==(const State&) const = default;
};
using States = std::vector<State>;

}  // namespace fusedstep
