#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels mixed = kernels<float, Path::mixed>(Rules());

}  // namespace fusedstep::cuda
