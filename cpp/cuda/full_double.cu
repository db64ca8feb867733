#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels full_double = kernels<double, Path::full>(Rules());

}  // namespace fusedstep::cuda
