// The functions of the CUDA runtime that the library calls, over a device that the processor plays. What is put into a
// stream is done when somebody waits for it, and no sooner.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "machine.hpp"
#include "streams.hpp"

namespace {

using namespace fusedstep::ptx;

/// A stream that a graph is captured from.
const auto captured = reinterpret_cast<cudaStream_t>(uintptr_t(0xca97));

thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;

struct Device {
    std::recursive_mutex mutex;
    Memory memory;
    Machine machine{memory};
    std::deque<std::map<std::string, Kernel, std::less<>>> modules;
    std::map<const void*, const Kernel*> functions;  ///< by what stands for them on the processor
    Streams streams;
    std::vector<std::function<void()>> graph;
    std::vector<std::pair<const std::byte*, size_t>> pinned;  ///< memory of the processor's that the device can read
    bool capturing = false, spoiled = false;
    cudaError_t error = cudaSuccess, last = cudaSuccess;
    std::string why;

    cudaError_t fail(cudaError_t code, const std::string& reason) {
        why = reason;
        return last = code;
    }

    void put(cudaStream_t into, std::function<void()> work) {
        if (into == captured)
            graph.push_back(std::move(work));
        else
            streams.put(into, std::move(work));
    }

    /// What nobody may do while a graph is captured, unless he has said that he has no part in that.
    cudaError_t alone(const char* what, bool has_part = mode != cudaStreamCaptureModeRelaxed) {
        if (!capturing || !has_part) return cudaSuccess;
        spoiled = true;
        return fail(cudaErrorStreamCaptureUnsupported, std::string(what) + " while a graph is captured");
    }
    /// The default stream waits for those that graphs are captured from.
    cudaError_t may_use(cudaStream_t into) {
        if (!capturing || into) return cudaSuccess;
        spoiled = true;
        return fail(cudaErrorStreamCaptureImplicit, "the default stream while a graph is captured");
    }

    /// After an error nothing works any more, as on a device.
    template <class... Stream>
    cudaError_t finish(Stream... stream) {
        if (error != cudaSuccess) return error;
        try {
            streams.finish(stream...);
        } catch (const Fault& fault) {
            error = fail(cudaErrorIllegalAddress, fault.what());
            streams.drop();
        }
        return error;
    }

    /// Checks an address of the device's by reading it.
    std::byte* at(const void* address, size_t bytes, Touch touch) {
        return memory.at(reinterpret_cast<Address>(address), bytes, touch);
    }
    bool holds(const void* address) const { return memory.holds(reinterpret_cast<Address>(address)); }
    bool is_pinned(const void* address, size_t bytes) const {
        const auto* const at = static_cast<const std::byte*>(address);
        return std::any_of(pinned.begin(), pinned.end(), [&](const auto& stretch) {
            return at >= stretch.first && at + bytes <= stretch.first + stretch.second;
        });
    }
};

Device& device() {
    static Device* const only = new Device;  // outlives whoever asks for it at the end
    return *only;
}

struct Configuration {
    dim3 blocks, threads;
    size_t shared;
    cudaStream_t stream;
};
thread_local std::vector<Configuration> configurations;

/// The parts of what nvcc puts into an object for devices: portable code is the first kind.
struct Binaries {
    uint32_t magic;
    uint16_t version, head;
    uint64_t bytes;
};
struct Binary {
    uint16_t kind, version;
    uint32_t head;
    uint64_t bytes;
};

void load(const char* at) {
    Binaries all;
    std::memcpy(&all, at, sizeof all);
    const char* const end = at + all.head + all.bytes;
    for (at += all.head; at < end;) {
        Binary one;
        std::memcpy(&one, at, sizeof one);
        if (one.kind == 1) device().modules.push_back(kernels_of({at + one.head, one.bytes}));
        at += one.head + one.bytes;
    }
}

cudaError_t launch(const Kernel* kernel, dim3 blocks, dim3 threads, void** arguments, size_t shared,
                   cudaStream_t stream) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.error != cudaSuccess) return own.error;
    if (own.may_use(stream)) return own.last;
    if (!kernel) return own.fail(cudaErrorInvalidDeviceFunction, "there is no such kernel");
    Launch made{kernel, {blocks.x, blocks.y, blocks.z}, {threads.x, threads.y, threads.z}, shared, {}};
    const unsigned all = threads.x * threads.y * threads.z;
    if (all == 0 || all > kernel->most_threads || blocks.x * blocks.y * blocks.z == 0 || blocks.y > 65535 ||
        blocks.z > 65535)
        return own.fail(cudaErrorInvalidConfiguration, kernel->name + ": " + std::to_string(all) + " threads");
    made.param.resize(kernel->param_bytes);
    for (size_t i = 0; i < kernel->parameters.size(); ++i) {
        const auto& [offset, bytes] = kernel->parameters[i];
        std::memcpy(made.param.data() + offset, arguments[i], bytes);
    }
    own.put(stream, [made = std::move(made), &own] { own.machine.run(made); });
    return cudaSuccess;
}

}  // namespace

#define API extern "C" __attribute__((visibility("hidden")))
#define EXPORTED extern "C" __attribute__((visibility("default")))

// What nvcc's own code calls

API void** __cudaRegisterFatBinary(void* wrapper) {
    struct {
        int magic, version;
        const char* data;
        void* name;
    } found;
    std::memcpy(&found, wrapper, sizeof found);
    try {
        load(found.data);
    } catch (const Fault& fault) {
        device().error = device().fail(cudaErrorInvalidPtx, fault.what());
    }
    return nullptr;
}
API void __cudaRegisterFatBinaryEnd(void**) {}
API void __cudaUnregisterFatBinary(void**) {}
API char __cudaInitModule(void**) { return 1; }
API void __cudaRegisterFunction(void**, const char* here, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                                int*) {
    const Kernel*& made = device().functions[here];
    for (const auto& module : device().modules)
        if (const auto found = module.find(std::string_view(name)); found != module.end()) made = &found->second;
}
API unsigned __cudaPushCallConfiguration(dim3 blocks, dim3 threads, size_t shared, cudaStream_t stream) {
    configurations.push_back({blocks, threads, shared, stream});
    return 0;
}
API cudaError_t __cudaPopCallConfiguration(dim3* blocks, dim3* threads, size_t* shared, void* stream) {
    const Configuration last = configurations.back();
    configurations.pop_back();
    *blocks = last.blocks;
    *threads = last.threads;
    *shared = last.shared;
    *static_cast<cudaStream_t*>(stream) = last.stream;
    return cudaSuccess;
}
API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = reinterpret_cast<cudaKernel_t>(const_cast<Kernel*>(device().functions.at(function)));
    return cudaSuccess;
}
API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 blocks, dim3 threads, void** arguments, size_t shared,
                                   cudaStream_t stream) {
    return launch(reinterpret_cast<const Kernel*>(kernel), blocks, threads, arguments, shared, stream);
}
API cudaError_t cudaLaunchKernel(const void* function, dim3 blocks, dim3 threads, void** arguments, size_t shared,
                                 cudaStream_t stream) {
    return launch(device().functions.at(function), blocks, threads, arguments, shared, stream);
}

// Devices

API cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return device().error;
}
API cudaError_t cudaGetDevice(int* number) {
    *number = 0;
    return cudaSuccess;
}
API cudaError_t cudaSetDevice(int number) {
    return number == 0 ? cudaSuccess : device().fail(cudaErrorInvalidDevice, "there is one device");
}
API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    if (attribute != cudaDevAttrMultiProcessorCount)
        return device().fail(cudaErrorInvalidValue, "this attribute is not known");
    *value = 2;
    return cudaSuccess;
}
/// One: with few blocks, each goes a long way.
API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* function, int threads, size_t) {
    const Kernel* const kernel = device().functions.at(function);
    if (!kernel) return device().fail(cudaErrorInvalidDeviceFunction, "there is no such kernel");
    *blocks = unsigned(threads) <= kernel->most_threads;
    return cudaSuccess;
}

// Memory

API cudaError_t cudaMalloc(void** memory, size_t bytes) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.error != cudaSuccess) return own.error;
    if (own.alone("memory is allocated")) return own.last;
    *memory = reinterpret_cast<void*>(own.memory.allocate(bytes));
    return cudaSuccess;
}
API cudaError_t cudaFree(void* memory) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.alone("memory is freed")) return own.last;
    own.finish();
    try {
        if (memory) own.memory.release(reinterpret_cast<Address>(memory));
    } catch (const Fault& fault) {
        return own.fail(cudaErrorInvalidValue, fault.what());
    }
    return own.error;
}
API cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.alone("memory is pinned")) return own.last;
    auto* const made = new std::byte[bytes];
    own.pinned.emplace_back(made, bytes);
    *memory = made;
    return cudaSuccess;
}
/// From and to memory that the device cannot reach by itself: what is read is read before this returns, and what is
/// written is there when it does. Pinned memory is read when the copy's turn comes.
API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.error != cudaSuccess) return own.error;
    if (own.may_use(stream)) return own.last;
    if (bytes == 0) return cudaSuccess;
    const bool up = own.holds(to), down = own.holds(from);
    if (kind != cudaMemcpyDefault || up == down)
        return own.fail(cudaErrorInvalidValue, "a copy that is neither to the device nor from it");
    try {
        if (up && stream != captured && !own.is_pinned(from, bytes)) {
            const auto* const bytes_of = static_cast<const std::byte*>(from);
            own.at(to, bytes, Touch::writes);
            own.put(stream, [&own, to, held = std::vector<std::byte>(bytes_of, bytes_of + bytes)] {
                std::memcpy(own.at(to, held.size(), Touch::writes), held.data(), held.size());
            });
        } else if (up) {
            own.put(stream, [&own, to, from, bytes] { std::memcpy(own.at(to, bytes, Touch::writes), from, bytes); });
        } else if (stream != captured) {
            if (own.finish(stream) == cudaSuccess) std::memcpy(to, own.at(from, bytes, Touch::reads), bytes);
        } else {
            own.put(stream, [&own, to, from, bytes] { std::memcpy(to, own.at(from, bytes, Touch::reads), bytes); });
        }
    } catch (const Fault& fault) {
        return own.fail(cudaErrorInvalidValue, fault.what());
    }
    return own.error;
}
API cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    if (own.error != cudaSuccess) return own.error;
    if (own.may_use(stream)) return own.last;
    if (bytes > 0)
        own.put(stream,
                [&own, memory, value, bytes] { std::memset(own.at(memory, bytes, Touch::writes), value, bytes); });
    return cudaSuccess;
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* memory) {
    const bool own = device().holds(memory);
    *found = {};
    found->type = own ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
    found->device = own ? 0 : cudaInvalidDeviceId;
    found->devicePointer = own ? const_cast<void*>(memory) : nullptr;
    return cudaSuccess;
}

// Streams

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    if (flags != cudaStreamNonBlocking) return device().fail(cudaErrorInvalidValue, "a stream that waits for others");
    *stream = reinterpret_cast<cudaStream_t>(uintptr_t(0xa51de));
    return cudaSuccess;
}
API cudaError_t cudaDeviceSynchronize() {
    const std::lock_guard lock(device().mutex);
    if (device().alone("the device is waited for", true)) return device().last;
    return device().finish();
}
API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const std::lock_guard lock(device().mutex);
    if (device().may_use(stream) || device().alone("a stream is waited for")) return device().last;
    if (stream == captured && device().alone("its stream is waited for", true)) return device().last;
    return device().finish(stream);
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    if (device().capturing && !stream)
        return device().fail(cudaErrorStreamCaptureImplicit, "whether the default stream is captured");
    *status = stream == captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* other) {
    std::swap(mode, *other);
    return cudaSuccess;
}

// Events

namespace {
std::shared_ptr<Event>& of(cudaEvent_t event) { return *reinterpret_cast<std::shared_ptr<Event>*>(event); }
}  // namespace

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = reinterpret_cast<cudaEvent_t>(new std::shared_ptr(std::make_shared<Event>()));
    return cudaSuccess;
}
API cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete &of(event);
    return cudaSuccess;
}
API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const std::lock_guard lock(device().mutex);
    if (device().may_use(stream)) return device().last;
    device().put(stream, [event = of(event), number = ++of(event)->recorded] {
        event->happened = std::max(event->happened, number);
    });
    return cudaSuccess;
}
API cudaError_t cudaEventQuery(cudaEvent_t event) {
    const std::lock_guard lock(device().mutex);
    if (device().alone("an event is asked for")) return device().last;
    return of(event)->happened == of(event)->recorded ? cudaSuccess : device().last = cudaErrorNotReady;
}
API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const std::lock_guard lock(device().mutex);
    if (device().alone("an event is waited for")) return device().last;
    return of(event)->happened == of(event)->recorded ? cudaSuccess : device().finish();
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const std::lock_guard lock(device().mutex);
    if (device().may_use(stream)) return device().last;
    if (stream == captured) return device().fail(cudaErrorStreamCaptureIsolation, "a graph that waits for an event");
    device().streams.wait(stream, of(event));
    return cudaSuccess;
}

// Errors

API cudaError_t cudaGetLastError() {
    const cudaError_t found = device().last;
    device().last = device().error;
    return found;
}
API const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorNotReady ? "not ready" : device().why.c_str();
}

// What the tests call

EXPORTED void fusedstep_begin_graph() {
    const std::lock_guard lock(device().mutex);
    device().capturing = true;
    device().spoiled = false;
}
/// Whether there is one
EXPORTED int fusedstep_end_graph() {
    const std::lock_guard lock(device().mutex);
    device().capturing = false;
    return !device().spoiled;
}
EXPORTED void fusedstep_launch_graph() {
    Device& own = device();
    const std::lock_guard lock(own.mutex);
    for (const auto& work : own.graph) own.streams.put(nullptr, work);
}
EXPORTED void fusedstep_drop_graph() {
    const std::lock_guard lock(device().mutex);
    device().graph.clear();
}
/// How much is not done yet
EXPORTED uint64_t fusedstep_waiting() {
    const std::lock_guard lock(device().mutex);
    return device().streams.waiting();
}
EXPORTED uint64_t fusedstep_pinned() {
    const std::lock_guard lock(device().mutex);
    uint64_t bytes = 0;
    for (const auto& [memory, size] : device().pinned) bytes += size;
    return bytes;
}
EXPORTED uint64_t fusedstep_instructions() { return device().machine.instructions(); }
