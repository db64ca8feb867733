#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels bare_float = kernels<float, true>(Rules());

}  // namespace fusedstep::cuda
