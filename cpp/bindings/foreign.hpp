// Arrays that are not NumPy's: what they say of their memory by DLPack or by __cuda_array_interface__. They become
// NumPy arrays that describe that memory, wherever it lies. One of a GPU's never leaves the bindings: to read it would
// be an error of addresses.
#pragma once

#include <pybind11/numpy.h>

#include <optional>
#include <vector>

#include "../kernel/buffers.hpp"
#include "dlpack.hpp"
#include "handle.hpp"

namespace fusedstep::bindings {

namespace py = pybind11;

/// What such an array stands for: its base.
struct Given {
    static constexpr int64_t any = -1;

    py::object object;
    Device device;
    py::object keeper;  ///< of the memory: the object could get another
    uintptr_t address;
    std::vector<int64_t> strides;  ///< in elements; `any` where an axis has a single one
    bool movable;                  ///< the object could get other memory, and says where it is by data_ptr()
    std::optional<Handle> handle;  ///< or by this, which knows strides as well
};

/// The description of another library's array, or nothing. `name` begins a message.
std::optional<py::array> described(const py::object& object, const std::string& name);

/// Whose memory an array describes; null for one of NumPy's own.
const Given* given_of(const py::array& array);

/// Whose memory could become another, or have its axes in another order: a step on what was described would be lost, or
/// be one of other elements.
class Movable {
public:
    /// Nothing where an array's memory stays.
    static std::optional<Movable> of(const py::array& array);

    bool has_moved() const;

private:
    explicit Movable(const Given& given)
        : object_(given.object), address_(given.address), strides_(given.strides), handle_(given.handle) {}

    py::object object_;
    uintptr_t address_;
    std::vector<int64_t> strides_;
    std::optional<Handle> handle_;
};
[[noreturn]] void refuse_move(const std::string& name);

Device device_of(const py::array& array);

/// The processor or the CUDA device that can use such memory as its own, pinned and managed as well.
std::optional<Device> device_of(const dlpack::Device& device);

/// The array as its user gave it.
py::object as_given(const py::array& array);

std::string name_of(const Device& device);

}  // namespace fusedstep::bindings
