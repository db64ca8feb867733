#include "runtime.hpp"

#include <map>
#include <mutex>

#include "apart.hpp"
#include "check.hpp"

namespace fusedstep::cuda {
namespace {

cudaStream_t of(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

/// A stream of the current device's that waits for no other. The default one waits for many, and cannot be used while a
/// graph is captured from one of them.
cudaStream_t aside() {
    static std::mutex& mutex = *new std::mutex;  // not let go, as the streams are not
    static auto& of_device = *new std::map<int, cudaStream_t>;
    int device;
    check(cudaGetDevice(&device));
    const std::lock_guard lock(mutex);
    cudaStream_t& stream = of_device[device];
    if (!stream) check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

}  // namespace

int device_count(std::string& why_not) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver)
        why_not = "there is no driver, or one that is older than CUDA " + std::to_string(CUDART_VERSION / 1000);
    else if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
        why_not = "the driver finds no GPU";
    else if (error != cudaSuccess)
        why_not = cudaGetErrorString(error);
    return error == cudaSuccess ? count : 0;
}

On::On(int device) : device_(device) {
    check(cudaGetDevice(&before_));
    if (before_ != device_) check(cudaSetDevice(device_));
}
On::~On() {
    if (before_ != device_ && cudaSetDevice(before_) != cudaSuccess) cudaGetLastError();
}

Mark::Mark() {
    cudaEvent_t made;
    check(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    event_ = made;
}
Mark::~Mark() {
    if (cudaEventDestroy(event_of(event_)) != cudaSuccess) cudaGetLastError();
}
void Mark::set(Stream stream) noexcept {
    if (cudaEventRecord(event_of(event_), of(stream)) != cudaSuccess) cudaGetLastError();  // nothing works any more
}
void Mark::hold_back(Stream stream) const { check(cudaStreamWaitEvent(of(stream), event_of(event_), 0)); }

void* allocate(size_t bytes) {
    const Apart apart;
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes));
    return memory;
}
void* allocate_zeros(size_t bytes) {
    const Apart apart;
    void* const memory = allocate(bytes);
    try {
        clear(memory, bytes, aside());
        wait(aside());
    } catch (...) {
        release(memory);
        throw;
    }
    return memory;
}
void release(void* memory) noexcept {
    const Apart apart;
    if (cudaFree(memory) != cudaSuccess) cudaGetLastError();
}

void download(void* to, const void* from, size_t bytes, Stream stream) {
    const Apart apart;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, of(stream)));  // `from` may be pinned memory
    wait(stream);
}
void clear(void* memory, size_t bytes, Stream stream) { check(cudaMemsetAsync(memory, 0, bytes, of(stream))); }

bool capturing(Stream stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(of(stream), &status));
    return status != cudaStreamCaptureStatusNone;
}

void wait_for_all() { check(cudaDeviceSynchronize()); }

std::optional<int> device_of(const void* memory) {
    cudaPointerAttributes found;
    check(cudaPointerGetAttributes(&found, memory));
    if (found.type == cudaMemoryTypeUnregistered) return {};
    return found.device;
}

void wait(Stream stream) {
    const Apart apart;
    check(cudaStreamSynchronize(of(stream)));
}

}  // namespace fusedstep::cuda
