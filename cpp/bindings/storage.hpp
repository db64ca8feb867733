// Which arrays of state a parameter gets, and of which types: what its method asks for, in the storage that was chosen.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../kernel/cargo.hpp"
#include "../methods/state.hpp"
#include "arrays.hpp"

namespace fusedstep::bindings {

/// One array beside a parameter.
struct Companion {
    enum Kind { like_param, ring, scalar, scales };
    enum Role { state, scale_of_state, average, rest };

    std::string name;
    Role role = state;
    Kind kind = like_param;
    std::string dtype;
    double initial = 0;
    int64_t planes = 1;  ///< of a ring; the number of scales
    int place = 0;       ///< among the parameter's companions
    int draw = -1;       ///< which random bits round it; -1 where none do
    Format format;       ///< of a state
};

class Storage {
public:
    /// Tensors with fewer elements keep their state in full: there is little to save, and much to lose.
    static constexpr int64_t worth_a_code = 4096;

    /// Types of states by name; the one named "" holds for all others.
    std::map<std::string, std::string> state;
    Rounding rounding = Rounding::nearest;
    std::optional<double> average_decay;  ///< nothing where no average is kept
    bool flush_denormals;

    /// Of a dict that Python has checked.
    explicit Storage(const py::dict& chosen);

    std::vector<Companion> companions(const States& states, const Layout& param, const Extent& extent) const;

    /// How the parameter itself is stored.
    Format format_of_param(const Layout& param) const;

private:
    std::string type_for(const State& state, const Layout& param, const Extent& extent) const;
};

}  // namespace fusedstep::bindings
