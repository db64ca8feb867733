#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels bare_double = kernels<double, true>(Rules());

}  // namespace fusedstep::cuda
