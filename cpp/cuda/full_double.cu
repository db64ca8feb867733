#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels full_double = kernels<double, false>(Rules());

}  // namespace fusedstep::cuda
