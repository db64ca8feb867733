// Names an argument in a message: the optimizer, the argument, and its place, as in `Adam: grads[3]`.
#pragma once

#include <string>
#include <string_view>

namespace fusedstep::bindings {

struct Where {
    std::string_view optimizer, argument;
    std::string_view place = {};  ///< of the group, where there are several
    std::string_view path = {};

    std::string name() const { return std::string(argument).append(place).append(path); }
    std::string text() const { return std::string(optimizer).append(": ").append(name()); }

    /// Further within the same argument
    Where at(std::string_view further) const { return {optimizer, argument, place, further}; }
};

}  // namespace fusedstep::bindings
