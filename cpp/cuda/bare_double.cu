#include "kernels.cuh"

namespace fusedstep::cuda {

const Kernels bare_double = kernels<double, Path::bare>(Rules());

}  // namespace fusedstep::cuda
