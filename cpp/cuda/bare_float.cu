#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels bare_float = kernels<float, Path::bare>(Rules());

}  // namespace fusedstep::cuda
