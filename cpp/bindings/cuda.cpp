#include "cuda.hpp"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>

#include "released.hpp"

namespace fusedstep::bindings {
namespace {

Backend* backend = nullptr;

/// Memory of the processor laid out like an array.
py::array like(const py::array& array) {
    const py::array flat(py::dtype("uint8"), std::vector<py::ssize_t>{std::max<py::ssize_t>(array.nbytes(), 1)});
    py::array made(array.dtype(), std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()),
                   std::vector<py::ssize_t>(array.strides(), array.strides() + array.ndim()), flat.data(), flat);
    if (type_name_of(array) == "bfloat16") made = py::module_::import("fusedstep.bfloat16").attr("as_bfloat16")(made);
    return made;
}

py::array on_device(const py::object& object, const char* caller) {
    const std::string name = caller;
    const auto array = described(object, name);
    if (!array || device_of(*array).kind != Device::cuda)
        throw py::type_error(name + ": array must be on a CUDA device, got " + Py_TYPE(object.ptr())->tp_name);
    if (array->size() && !is_dense(*array))
        throw py::value_error(name + ": array must be dense in memory, got strides " +
                              py::str(array->attr("strides")).cast<std::string>());
    return *array;
}

}  // namespace

Backend& cuda_backend() {
    if (!backend) py::module_::import("fusedstep.cuda").attr("load")();
    return *backend;
}

void* current_stream(const py::array& array) {
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> once;
    const py::object& current = once.call_once_and_store_result([] {
                                        return py::object(py::module_::import("fusedstep.cuda").attr("current_stream"));
                                    })
                                    .get_stored();
    return reinterpret_cast<void*>(call_python(current, py::make_tuple(as_given(array))).cast<uintptr_t>());
}

bool is_captured(const py::array& array) {
    return cuda_backend().capturing(device_of(array).index, current_stream(array));
}

void refuse_capture(const py::array& array, const std::string& caller) {
    if (is_captured(array))
        throw std::runtime_error(caller + ": must not wait for the device while a graph is captured");
}

void connect(uintptr_t found) { backend = reinterpret_cast<Backend*>(found); }

DeviceMemory::DeviceMemory(int device, size_t bytes) : backend_(cuda_backend()) {
    const Released released;
    memory_ = backend_.allocate(device, bytes);
}
DeviceMemory::~DeviceMemory() {
    const Released released;
    backend_.release(memory_);
}

py::array to_host(const py::object& object) {
    const py::array array = on_device(object, "to_host");
    refuse_capture(array, "to_host");
    py::array made = like(array);
    const int device = device_of(array).index;
    void* const to = const_cast<void*>(made.data());
    const auto bytes = size_t(array.nbytes());
    {
        const Released released;
        backend->download(device, to, array.data(), bytes);
    }
    return made;
}

void to_device(const py::object& object, const py::array& values) {
    const py::array array = on_device(object, "to_device");
    refuse_capture(array, "to_device");
    const py::object shape = array.attr("shape"), given = values.attr("shape");
    const std::string type = type_name_of(array), came = type_name_of(values);
    if (!shape.equal(given) || type != came)
        throw py::value_error("to_device: values must have shape " + py::str(shape).cast<std::string>() +
                              " and dtype " + type + ", got " + py::str(given).cast<std::string>() + " and " + came);
    const py::array ordered = like(array);
    const py::object bits = py::module_::import("fusedstep.bfloat16").attr("bits_of");
    bits(ordered).attr("__setitem__")(py::ellipsis(), bits(values));
    const int device = device_of(array).index;
    void* const to = const_cast<void*>(array.data());
    const auto bytes = size_t(array.nbytes());
    const Released released;
    backend->upload(device, to, ordered.data(), bytes);
}

}  // namespace fusedstep::bindings
