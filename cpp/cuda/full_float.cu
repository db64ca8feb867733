#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels full_float = kernels<float, false>(Rules());

}  // namespace fusedstep::cuda
