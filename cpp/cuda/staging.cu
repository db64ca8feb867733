// Transport to a device through memory that its copy engine reads by itself: from any other the runtime would copy only
// after it has waited for the stream.
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "apart.hpp"
#include "check.hpp"
#include "runtime.hpp"

namespace fusedstep::cuda {
namespace {

/// What is larger takes so long that waiting does not matter.
constexpr size_t most = size_t(16) << 20;

/// As much as may be on its way to a device at a time: what comes then waits for what went first. A host that is so
/// far ahead would otherwise pin memory without end.
constexpr size_t most_at_a_time = size_t(64) << 20;

/// Pinned memory for what is on its way to one device.
struct Buffer {
    void* data = nullptr;
    size_t bytes = 0;
    cudaEvent_t arrived = nullptr;

    void wait() const { check(cudaEventSynchronize(arrived)); }
    bool idle() const {
        const bool done = cudaEventQuery(arrived) == cudaSuccess;
        if (!done) cudaGetLastError();  // "not ready" would be found there by the next that asks
        return done;
    }
};

class Staging {
public:
    void send(void* to, const void* from, size_t bytes, cudaStream_t stream) {
        Buffer& buffer = idle(bytes);
        std::memcpy(buffer.data, from, bytes);
        check(cudaMemcpyAsync(to, buffer.data, bytes, cudaMemcpyDefault, stream));
        check(cudaEventRecord(buffer.arrived, stream));
    }

private:
    /// As many are made as are on their way at a time. They are used in turn: where the first that is large enough is
    /// not back yet, those behind it are hardly either.
    Buffer& idle(size_t bytes) {
        Buffer made;
        made.bytes = size_t(1) << 12;
        while (made.bytes < bytes) made.bytes *= 2;
        size_t turn = turn_;
        for (size_t seen = 0; seen < buffers_.size(); ++seen, turn = (turn + 1) % buffers_.size()) {
            if (buffers_[turn].bytes < bytes) continue;
            if (!buffers_[turn].idle()) {
                if (pinned_ + made.bytes <= most_at_a_time) break;
                buffers_[turn].wait();
            }
            turn_ = (turn + 1) % buffers_.size();
            return buffers_[turn];
        }
        buffers_.reserve(buffers_.size() + 1);
        check(cudaEventCreateWithFlags(&made.arrived, cudaEventDisableTiming));
        const cudaError_t error = cudaHostAlloc(&made.data, made.bytes, cudaHostAllocPortable);
        if (error != cudaSuccess) cudaEventDestroy(made.arrived);
        check(error);
        const auto place = buffers_.insert(buffers_.begin() + std::ptrdiff_t(turn_), made);
        turn_ = (turn_ + 1) % buffers_.size();
        pinned_ += made.bytes;
        return *place;
    }

    std::vector<Buffer> buffers_;
    size_t pinned_ = 0;  ///< bytes of all of them
    size_t turn_ = 0;    ///< whose it is: the buffer's that was used longest ago
};

}  // namespace

void upload(void* to, const void* from, size_t bytes, Stream stream) {
    const Apart apart;
    const auto own = static_cast<cudaStream_t>(stream);
    if (bytes > most) {
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, own));
        return wait(stream);  // a device that reads pageable memory by itself (ATS, HMM) may not have read it yet
    }
    // Never let go: at the process's end the runtime may be gone before them.
    static std::mutex& mutex = *new std::mutex;
    static auto& of_device = *new std::map<int, Staging>;
    int device;
    check(cudaGetDevice(&device));
    const std::lock_guard lock(mutex);
    of_device[device].send(to, from, bytes, own);
}

}  // namespace fusedstep::cuda
