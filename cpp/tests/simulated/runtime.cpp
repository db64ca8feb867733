// The processor in the place of a CUDA device: its memory is the process's, a stream does everything at once. Whether
// it captures is said by the stream's address.
#include "cuda/runtime.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace fusedstep::cuda {
namespace {

/// A stream that a graph is captured from; nothing is launched then.
constexpr uintptr_t captured = 0xca97;

bool begun = false, spoiled = false;

}  // namespace

int device_count(std::string&) { return 1; }

On::On(int) : before_(0), device_(0) {}
On::~On() = default;

void* allocate(size_t bytes) {
    void* const memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, bytes);  // as on a device, nothing is promised of it
    return memory;
}
void* allocate_zeros(size_t bytes) { return std::memset(allocate(bytes), 0, bytes); }
void release(void* memory) noexcept { std::free(memory); }

void upload(void* to, const void* from, size_t bytes, Stream) { std::memcpy(to, from, bytes); }
void download(void* to, const void* from, size_t bytes, Stream) { std::memcpy(to, from, bytes); }

void clear(void* memory, size_t bytes, Stream) { std::memset(memory, 0, bytes); }

bool capturing(Stream stream) { return reinterpret_cast<uintptr_t>(stream) == captured; }
void wait(Stream) {}
void wait_for_all() {
    spoiled |= begun;
    if (begun) throw std::runtime_error("the device is waited for while a graph is captured");
}
int device_of(const void*) { return 0; }

}  // namespace fusedstep::cuda

extern "C" __attribute__((visibility("default"))) void fusedstep_begin_graph() {
    fusedstep::cuda::begun = true;
    fusedstep::cuda::spoiled = false;
}
/// Whether there is one
extern "C" __attribute__((visibility("default"))) int fusedstep_end_graph() {
    fusedstep::cuda::begun = false;
    return !fusedstep::cuda::spoiled;
}
