// The library for CUDA devices, once Python has loaded it, and memory on a device.
#pragma once

#include <pybind11/numpy.h>

#include "../kernel/backend.hpp"
#include "arrays.hpp"

namespace fusedstep::bindings {

/// Loads the library if that has not happened yet.
Backend& cuda_backend();

/// Takes what the library's one function returned.
void connect(uintptr_t backend);

/// The stream that is current in the library of an array on a device.
void* current_stream(const py::array& array);

/// Whether a graph is captured from it.
bool is_captured(const py::array& array);

/// Throws where that is so: to wait for the device would be the graph's end.
void refuse_capture(const py::array& array, const std::string& caller);

/// Zeros on a device, freed with this.
class DeviceMemory {
public:
    DeviceMemory(int device, size_t bytes);
    ~DeviceMemory();
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    uintptr_t address() const { return reinterpret_cast<uintptr_t>(memory_); }

private:
    Backend& backend_;
    void* memory_;
};

/// A copy in the processor's memory, with the array's order of elements.
py::array to_host(const py::object& array);

/// Copies an array of the processor's memory into one on a device, of the same shape and type.
void to_device(const py::object& array, const py::array& values);

}  // namespace fusedstep::bindings
