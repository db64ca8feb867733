#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels codes = kernels<float, Path::codes>(Rules());

}  // namespace fusedstep::cuda
