// What is asked of a CUDA device: memory and its transport. Tests put the processor in its place.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace fusedstep::cuda {

/// A cudaStream_t
using Stream = void*;

/// How many devices there are; what keeps them from being used otherwise.
int device_count(std::string& why_not);

/// Makes a device the current one for a scope.
class On {
public:
    explicit On(int device);
    ~On();
    On(const On&) = delete;
    On& operator=(const On&) = delete;

private:
    int before_, device_;
};

/// A place in what a stream of the current device has to do.
class Mark {
public:
    Mark();
    ~Mark();
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;

    /// Behind all that is in the stream.
    void set(Stream stream) noexcept;

    /// What comes into the stream from now on waits until this place is reached.
    void hold_back(Stream stream) const;

private:
    void* event_;
};

void* allocate(size_t bytes);
void* allocate_zeros(size_t bytes);  ///< waits until they are there

/// Waits for everything on the device: of cudaFree CUDA says that it may, and every driver does. To be asked to wait
/// for the device would be the end of graphs that are captured.
void release(void* memory) noexcept;

/// `from` may change when this returns. Waits for nothing, unless it is more than 16 MB.
void upload(void* to, const void* from, size_t bytes, Stream stream);

/// Waits for the stream.
void download(void* to, const void* from, size_t bytes, Stream stream);

/// Sets bytes to zero.
void clear(void* memory, size_t bytes, Stream stream);

/// Whether what is put into the stream goes into a graph, and happens when that is launched.
bool capturing(Stream stream);

void wait(Stream stream);

/// For everything on the current device. No graph that is captured on it survives that.
void wait_for_all();

/// The device that an address belongs to, if it is one's.
std::optional<int> device_of(const void* memory);

}  // namespace fusedstep::cuda
