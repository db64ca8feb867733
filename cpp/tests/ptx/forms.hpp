// What each instruction looks like, and what does it.
#pragma once

#include <string>
#include <unordered_map>

#include "warp.hpp"

namespace fusedstep::ptx {

struct Form {
    Run run;

    /// A letter for each operand: p a predicate; 2, 4, 8 a register of as many bytes, or a constant; r a register that
    /// may be wider than `bytes`; d one that is wide enough; v a vector of such; a an address; l a label; 0 that
    /// number.
    std::string shape;

    uint8_t bytes = 0;
    Space space = Space::generic;
    uint8_t count = 1;
};

/// By name. What is not among them is refused, and so is on purpose whatever rounds otherwise than IEEE 754 or lets
/// the assembler contract a product and a sum.
using Forms = std::unordered_map<std::string, Form>;

void add_arithmetic(Forms& forms);
void add_conversions(Forms& forms);
void add_transfers(Forms& forms);
void add_meetings(Forms& forms);

}  // namespace fusedstep::ptx
