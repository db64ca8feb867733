// A call of the CUDA runtime that failed becomes an exception.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace fusedstep::cuda {

inline void check(cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // would be found there by the next launch, which has no part in it
    throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

}  // namespace fusedstep::cuda
