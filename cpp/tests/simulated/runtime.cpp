// The processor in the place of a CUDA device: its memory is the process's, a stream does everything at once. Whether
// it captures is said by the stream's address.
#include "cuda/runtime.hpp"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>

#include "failure.hpp"

namespace fusedstep::cuda {
namespace {

/// A stream that a graph is captured from; nothing is launched then.
constexpr uintptr_t captured = 0xca97;

bool begun = false, spoiled = false;

/// How often what may fail goes well before it does; below zero where it always does.
int64_t successes = -1;

/// Where each piece of the device's memory ends.
class Pieces {
public:
    void add(const void* memory, size_t bytes) {
        const std::lock_guard lock(mutex_);
        ends_[address(memory)] = address(memory) + bytes;
    }
    void drop(const void* memory) {
        const std::lock_guard lock(mutex_);
        ends_.erase(address(memory));
    }
    bool hold(const void* memory) {
        const std::lock_guard lock(mutex_);
        const auto next = ends_.upper_bound(address(memory));
        return next != ends_.begin() && address(memory) < std::prev(next)->second;
    }

private:
    static uintptr_t address(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

    std::mutex mutex_;
    std::map<uintptr_t, uintptr_t> ends_;
};
Pieces& pieces = *new Pieces;  // outlives whoever asks at the end

}  // namespace

void may_fail() {
    if (successes >= 0 && successes-- == 0) throw std::runtime_error("CUDA: out of memory");
}

int device_count(std::string&) { return 1; }

On::On(int) : before_(0), device_(0) {}
On::~On() = default;

Mark::Mark() = default;
Mark::~Mark() = default;
void Mark::set(Stream) noexcept {}
void Mark::hold_back(Stream) const {}

void* allocate(size_t bytes) {
    may_fail();
    void* const memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0xff, bytes);  // as on a device, nothing is promised of it
    pieces.add(memory, bytes);
    return memory;
}
void* allocate_zeros(size_t bytes) { return std::memset(allocate(bytes), 0, bytes); }
void release(void* memory) noexcept {
    pieces.drop(memory);
    std::free(memory);
}

void upload(void* to, const void* from, size_t bytes, Stream) {
    may_fail();
    std::memcpy(to, from, bytes);
}
void download(void* to, const void* from, size_t bytes, Stream) { std::memcpy(to, from, bytes); }

void clear(void* memory, size_t bytes, Stream) { std::memset(memory, 0, bytes); }

bool capturing(Stream stream) { return reinterpret_cast<uintptr_t>(stream) == captured; }
void wait(Stream) {}
void wait_for_all() {
    spoiled |= begun;
    if (begun) throw std::runtime_error("the device is waited for while a graph is captured");
}
std::optional<int> device_of(const void* memory) {
    if (!pieces.hold(memory)) return {};
    return 0;
}

}  // namespace fusedstep::cuda

extern "C" __attribute__((visibility("default"))) void fusedstep_begin_graph() {
    fusedstep::cuda::begun = true;
    fusedstep::cuda::spoiled = false;
}
extern "C" __attribute__((visibility("default"))) void fusedstep_fail_after(int64_t count) {
    fusedstep::cuda::successes = count;
}
/// As if the process had just begun
extern "C" __attribute__((visibility("default"))) void fusedstep_forget_kernels() { fusedstep::cuda::forget_kernels(); }
/// Whether there is one
extern "C" __attribute__((visibility("default"))) int fusedstep_end_graph() {
    fusedstep::cuda::begun = false;
    return !fusedstep::cuda::spoiled;
}
