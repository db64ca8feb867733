#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels full_float = kernels<float, Path::full>(Rules());

}  // namespace fusedstep::cuda
