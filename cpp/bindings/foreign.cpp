#include "foreign.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "answer.hpp"
#include "cuda.hpp"
#include "exchange.hpp"
#include "released.hpp"

namespace fusedstep::bindings {
namespace {

struct Description {
    void* data = nullptr;
    std::vector<py::ssize_t> shape, strides;  ///< the latter in bytes
    std::string dtype;
    bool writeable = true;
    Device device;
    py::object keeper;
};

bool has(const py::object& object, const char* name) { return py::hasattr(py::type::handle_of(object), name); }

// Unsigned, as shapes and strides are what somebody says: those that are too large are refused later.

std::vector<py::ssize_t> in_c_order(const std::vector<py::ssize_t>& shape, py::ssize_t itemsize) {
    std::vector<py::ssize_t> strides(shape.size());
    auto stride = uint64_t(itemsize);
    for (size_t i = shape.size(); i-- > 0; stride *= uint64_t(shape[i])) strides[i] = py::ssize_t(stride);
    return strides;
}

std::string dtype_of(const dlpack::DataType& type) {
    const std::string bits = std::to_string(int(type.bits));
    const std::string nameless = "V" + std::to_string(type.bits * type.lanes / 8);  // NumPy's, without a meaning
    if (type.lanes != 1) return nameless;
    switch (type.code) {
        case dlpack::DataType::integer: return "int" + bits;
        case dlpack::DataType::natural: return "uint" + bits;
        case dlpack::DataType::floating: return "float" + bits;
        case dlpack::DataType::bfloat: return "bfloat" + bits;
        case dlpack::DataType::complex: return "complex" + bits;
        case dlpack::DataType::boolean: return "bool";
        default: return nameless;
    }
}

/// What keeps the part for CUDA from being there is told with the array that would need it.
void check_reach(const Device& device, const std::string& name) {
    if (device.kind == Device::cpu) return;
    try {
        cuda_backend();
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) throw;  // an interruption
        throw py::type_error(name + " must be in the processor's memory, got an array on " + name_of(device) + " (" +
                             py::str(error.value()).cast<std::string>() + ")");
    }
}

dlpack::Device asked_for_device(const py::object& object) {
    const auto [kind, index] = call_python(object.attr("__dlpack_device__")).cast<std::pair<int, int>>();
    return {kind, index};
}

py::object capsule_of(const py::object& object, const Device& device) {
    if (device.kind == Device::cpu) return call_python(object.attr("__dlpack__"));
    // The caller's stream is the step's: there is nothing to wait for, which −1 says. And torch wants to be asked while
    // the device is the current one.
    py::object capsule;
    cuda_backend().on(device.index, [&] {
        capsule = call_python(object.attr("__dlpack__"), py::tuple(), py::dict(py::arg("stream") = -1));
    });
    return capsule;
}

Description by_dlpack(const dlpack::Tensor& tensor, const Device& device, py::object keeper) {
    Description made;
    made.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    made.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    const py::ssize_t itemsize = tensor.type.bits * tensor.type.lanes / 8;
    made.strides = in_c_order(made.shape, itemsize);
    if (tensor.strides)
        for (int32_t i = 0; i < tensor.ndim; ++i)
            made.strides[size_t(i)] = py::ssize_t(uint64_t(tensor.strides[i]) * uint64_t(itemsize));
    made.dtype = dtype_of(tensor.type);
    made.device = device;
    made.keeper = std::move(keeper);
    return made;
}

Description by_capsule(const py::object& object, const Device& device) {
    const py::object capsule = capsule_of(object, device);
    const auto* const managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (!managed) throw py::error_already_set();
    return by_dlpack(managed->tensor, device, capsule);
}

Description by_interface(const py::object& object, const std::string& name) {
    const py::dict given = object.attr("__cuda_array_interface__");
    if (given.contains("mask") && !given["mask"].is_none())
        throw py::type_error(name + " must have all of its elements, got an array with a mask");
    const py::dtype dtype = py::dtype::from_args(given["typestr"]);
    const py::tuple data = given["data"];
    Description made;
    made.data = reinterpret_cast<void*>(data[0].cast<uintptr_t>());
    made.writeable = !data[1].cast<bool>();
    made.shape = given["shape"].cast<std::vector<py::ssize_t>>();
    made.strides = in_c_order(made.shape, dtype.itemsize());
    if (given.contains("strides") && !given["strides"].is_none())
        made.strides = given["strides"].cast<std::vector<py::ssize_t>>();
    if (made.strides.size() != made.shape.size()) throw py::cast_error("a stride for each axis");
    made.dtype = py::str(py::handle(dtype));
    if (py::getattr(object, "fusedstep_bfloat16", py::bool_(false)).equal(py::bool_(true))) made.dtype = "bfloat16";
    const std::optional<int> index = made.data ? cuda_backend().device_of(made.data) : 0;
    if (!index) throw py::type_error(name + " must lie in memory that a CUDA device knows, got an address of none");
    made.device = {Device::cuda, *index};
    return made;
}

std::optional<Description> describe(py::object object, const std::string& name) {
    if (has(object, "is_neg") && call_python(object.attr("is_neg")).cast<bool>())
        throw py::type_error(name + " must have its numbers in memory, got a view of their negatives " +
                             "(x.resolve_neg() is a copy)");
    // Of torch: shares the memory, needs no gradient, and keeps that memory when the tensor itself is given another.
    if (has(object, "__dlpack__") && has(object, "detach")) object = call_python(object.attr("detach"));
    if (has(object, "__dlpack__") && has(object, "__dlpack_device__")) {
        std::optional<Exchanged> exchanged = Producer::of(Py_TYPE(object.ptr())).exchange(object);
        const dlpack::Device place = exchanged ? exchanged->tensor.device : asked_for_device(object);
        const std::optional<Device> device = device_of(place);
        if (!device)
            throw py::type_error(name + " must lie in the memory of the processor or of a CUDA device, got DLPack's " +
                                 "kind " + std::to_string(place.kind));
        check_reach(*device, name);
        return exchanged ? by_dlpack(exchanged->tensor, *device, std::move(exchanged->keeper))
                         : by_capsule(object, *device);
    }
    if (attribute(object, "__cuda_array_interface__")) return by_interface(object, name);
    return {};
}

py::array array_of(const py::object& object, const Description& found) {
    const bool bits = found.dtype == "bfloat16";
    const bool movable = has(object, "data_ptr");
    const py::dtype dtype(bits ? "uint16" : found.dtype);
    std::vector<int64_t> strides;
    for (size_t axis = 0; axis < found.shape.size(); ++axis)
        strides.push_back(found.shape[axis] == 1 ? Given::any : int64_t(found.strides[axis] / dtype.itemsize()));
    const py::object base = py::cast(Given{object, found.device, found.keeper, reinterpret_cast<uintptr_t>(found.data),
                                           strides, movable, movable ? Handle::of(object) : std::nullopt});
    static const char nothing = 0;  // NumPy would allocate memory for an empty array
    py::array array(dtype, found.shape, found.strides, found.data ? found.data : &nothing, base);
    if (!found.writeable) array.attr("setflags")(py::arg("write") = false);
    if (bits) array = py::module_::import("fusedstep.bfloat16").attr("as_bfloat16")(array);
    return array;
}

}  // namespace

std::optional<py::array> described(const py::object& object, const std::string& name) {
    try {
        const std::optional<Description> found = describe(object, name);
        if (!found) return {};
        const bool empty = std::find(found->shape.begin(), found->shape.end(), 0) != found->shape.end();
        if (!found->data && !empty)
            throw py::type_error(name + " must have its numbers in memory, got a " + Py_TYPE(object.ptr())->tp_name +
                                 " without any" +
                                 (has(object, "to_local") ? " (x.to_local() is this process's part)" : ""));
        return array_of(object, *found);
    } catch (const py::cast_error&) {
        throw py::type_error(name + " must be an array that describes itself as DLPack or __cuda_array_interface__ " +
                             "demand, got " + Py_TYPE(object.ptr())->tp_name);
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) throw;  // an interruption
        const std::string type = py::str(py::type::handle_of(object).attr("__name__"));
        throw py::type_error(name + " must be an array that its library can describe, got a " + type + " that says '" +
                             py::str(error.value()).cast<std::string>() + "'");
    }
}

const Given* given_of(const py::array& array) {
    py::object base = array.base();
    while (base && py::isinstance<py::array>(base)) base = py::reinterpret_borrow<py::array>(base).base();
    return base && py::isinstance<Given>(base) ? base.cast<const Given*>() : nullptr;
}

std::optional<Movable> Movable::of(const py::array& array) {
    const Given* const given = array.size() ? given_of(array) : nullptr;
    if (!given || !given->movable) return {};
    return Movable(*given);
}

bool Movable::has_moved() const {
    if (handle_)
        if (const std::optional<Handle::Place> place = handle_->place(object_))
            return place->address != address_ || place->ndim != int64_t(strides_.size()) ||
                   !std::equal(strides_.begin(), strides_.end(), place->strides,
                               [](int64_t given, int64_t now) { return given == now || given == Given::any; });
    static PyObject* const data_ptr = PyUnicode_InternFromString("data_ptr");
    const auto address = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object_.ptr(), data_ptr));
    if (!address) throw py::error_already_set();
    return address.cast<uintptr_t>() != address_;
}

void refuse_move(const std::string& name) {
    throw py::value_error(name +
                          " must stay in the memory that it was given in, got other data or strides (a new "
                          "optimizer takes that, and goes on from this one's state_dict())");
}

std::optional<Device> device_of(const dlpack::Device& device) {
    constexpr int pinned = 3, managed = 13;
    if (device.kind == Device::cpu || device.kind == pinned) return Device{};
    if (device.kind == Device::cuda || device.kind == managed) return Device{Device::cuda, device.index};
    return {};
}

Device device_of(const py::array& array) {
    const Given* const given = given_of(array);
    return given ? given->device : Device{};
}

py::object as_given(const py::array& array) {
    const Given* const given = given_of(array);
    return given ? given->object : array;
}

std::string name_of(const Device& device) {
    return device.kind == Device::cpu ? "the processor" : "cuda:" + std::to_string(device.index);
}

}  // namespace fusedstep::bindings
