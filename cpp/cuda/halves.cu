#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels halves = kernels<float, Path::halves>(Rules());

}  // namespace fusedstep::cuda
