// What goes wrong on a device that is full.
#pragma once

namespace fusedstep::cuda {

/// Throws where it is this call's turn.
void may_fail();

/// Each kernel is loaded when it is called for.
void forget_kernels();

}  // namespace fusedstep::cuda
