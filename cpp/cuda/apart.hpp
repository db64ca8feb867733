// What is asked of the runtime while somebody captures a graph, and has no part in that.
#pragma once

#include <cuda_runtime.h>

namespace fusedstep::cuda {

class Apart {
public:
    Apart() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    ~Apart() { cudaThreadExchangeStreamCaptureMode(&mode_); }
    Apart(const Apart&) = delete;
    Apart& operator=(const Apart&) = delete;

private:
    cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace fusedstep::cuda
