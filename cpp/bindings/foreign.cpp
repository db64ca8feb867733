#include "foreign.hpp"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "dlpack.hpp"

namespace fusedstep::bindings {
namespace {

struct Description {
    void* data = nullptr;
    std::vector<py::ssize_t> shape, strides;  ///< the latter in bytes
    std::string dtype;
    bool writeable = true;
    Device device;
};

bool has(const py::object& object, const char* name) { return py::hasattr(py::type::handle_of(object), name); }

std::vector<py::ssize_t> in_c_order(const std::vector<py::ssize_t>& shape, py::ssize_t itemsize) {
    std::vector<py::ssize_t> strides(shape.size());
    for (size_t i = shape.size(); i-- > 0; itemsize *= shape[i]) strides[i] = itemsize;
    return strides;
}

std::string dtype_of(const dlpack::DataType& type) {
    const std::string bits = std::to_string(int(type.bits));
    switch (type.code) {
        case dlpack::DataType::integer: return "int" + bits;
        case dlpack::DataType::natural: return "uint" + bits;
        case dlpack::DataType::floating: return "float" + bits;
        case dlpack::DataType::bfloat: return "bfloat" + bits;
        case dlpack::DataType::complex: return "complex" + bits;
        case dlpack::DataType::boolean: return "bool";
        default: return "V" + std::to_string(type.bits * type.lanes / 8);  // NumPy's for bytes without a meaning
    }
}

Description by_dlpack(const py::object& object, const dlpack::Device& device) {
    // On a GPU the caller's stream is the step's: there is nothing to wait for, which −1 says.
    const py::object capsule =
        device.kind == Device::cuda ? object.attr("__dlpack__")(py::arg("stream") = -1) : object.attr("__dlpack__")();
    const auto* const managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
    if (!managed) throw py::error_already_set();
    const dlpack::Tensor& tensor = managed->tensor;
    Description made;
    made.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    made.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    const py::ssize_t itemsize = tensor.type.bits * tensor.type.lanes / 8;
    made.strides = in_c_order(made.shape, itemsize);
    if (tensor.strides)
        for (int32_t i = 0; i < tensor.ndim; ++i) made.strides[size_t(i)] = tensor.strides[i] * itemsize;
    made.dtype = dtype_of(tensor.type);
    made.device = {Device::Kind(tensor.device.kind), tensor.device.index};
    return made;
}

Description by_interface(const py::object& object) {
    const py::dict given = object.attr("__cuda_array_interface__");
    const py::dtype dtype = py::dtype::from_args(given["typestr"]);
    const py::tuple data = given["data"];
    Description made;
    made.data = reinterpret_cast<void*>(data[0].cast<uintptr_t>());
    made.writeable = !data[1].cast<bool>();
    made.shape = given["shape"].cast<std::vector<py::ssize_t>>();
    made.strides = in_c_order(made.shape, dtype.itemsize());
    if (given.contains("strides") && !given["strides"].is_none())
        made.strides = given["strides"].cast<std::vector<py::ssize_t>>();
    made.dtype = py::str(dtype);
    if (py::getattr(object, "fusedstep_bfloat16", py::bool_(false)).equal(py::bool_(true))) made.dtype = "bfloat16";
    // The interface does not say which device: its library does.
    const py::object device = py::getattr(object, "device", py::none());
    const py::object index = py::getattr(device, "id", py::getattr(device, "index", py::int_(0)));
    made.device = {Device::cuda, index.is_none() ? 0 : index.cast<int>()};
    return made;
}

std::optional<Description> describe(py::object object, const std::string& name) {
    // A parameter of torch shares its memory with what detach() returns.
    if (py::getattr(object, "requires_grad", py::bool_(false)).equal(py::bool_(true))) object = object.attr("detach")();
    if (has(object, "__dlpack__") && has(object, "__dlpack_device__")) {
        const auto [kind, index] = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
        if (kind != Device::cpu && kind != Device::cuda)
            throw py::type_error(name +
                                 " must lie in the memory of the processor or of a CUDA device, got DLPack's kind " +
                                 std::to_string(kind));
        return by_dlpack(object, {kind, index});
    }
    if (py::hasattr(object, "__cuda_array_interface__")) return by_interface(object);
    return {};
}

}  // namespace

std::optional<py::array> described(const py::object& object, const std::string& name) {
    std::optional<Description> found;
    try {
        found = describe(object, name);
    } catch (const py::error_already_set& error) {
        const std::string type = py::str(py::type::handle_of(object).attr("__name__"));
        throw py::type_error(name + " must be an array that its library can describe, got a " + type + " that says '" +
                             py::str(error.value()).cast<std::string>() + "'");
    }
    if (!found) return {};
    const bool bits = found->dtype == "bfloat16";
    const py::object base = py::cast(Given{object, found->device});
    static const char nothing = 0;  // NumPy would allocate memory for an empty array
    py::array array(py::dtype(bits ? "uint16" : found->dtype), found->shape, found->strides,
                    found->data ? found->data : &nothing, base);
    if (!found->writeable) array.attr("setflags")(py::arg("write") = false);
    if (bits) array = py::module_::import("fusedstep.bfloat16").attr("as_bfloat16")(array);
    return array;
}

const Given* given_of(const py::array& array) {
    py::object base = array.base();
    while (base && py::isinstance<py::array>(base)) base = py::reinterpret_borrow<py::array>(base).base();
    return base && py::isinstance<Given>(base) ? base.cast<const Given*>() : nullptr;
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
