#include "look.hpp"

#include "cuda.hpp"
#include "exchange.hpp"

namespace fusedstep::bindings {
namespace {

/// A name that is compared by its address, and stays.
py::handle interned(const char* text) { return PyUnicode_InternFromString(text); }

std::optional<Type> type_of(const dlpack::DataType& type) {
    if (type.lanes != 1) return {};
    if (type.code == dlpack::DataType::bfloat && type.bits == 16) return Type::bfloat16;
    if (type.code != dlpack::DataType::floating) return {};
    switch (type.bits) {
        case 16: return Type::float16;
        case 32: return Type::float32;
        case 64: return Type::float64;
        default: return {};
    }
}

/// Whether axes are a parameter's; strides are in units of which an element has so many.
template <class Size, class Stride>
bool has_layout(const Layout& param, int64_t units, const Size& size, const Stride& stride) {
    for (size_t i = 0; i < param.shape.size(); ++i)
        if (size(i) != param.shape[i]) return false;
    for (size_t i = 0; i < param.shape.size(); ++i)
        if (param.shape[i] != 1 && stride(i) != param.strides[i] / param.itemsize * units) return false;
    return true;
}

bool is_aligned(const void* data, Type type) {
    return reinterpret_cast<uintptr_t>(data) % uintptr_t(size_of(type)) == 0;
}

std::optional<Seen> by_table(Exchanged&& exchanged, const Layout& param) {
    const dlpack::Tensor& tensor = exchanged.tensor;
    const std::optional<Type> type = type_of(tensor.type);
    const auto ndim = int32_t(param.shape.size());
    if (!type || device_of(tensor.device) != param.device || tensor.ndim != ndim) return {};
    const void* const data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
    const auto size = [&](size_t i) { return tensor.shape[i]; };
    const auto stride = [&](size_t i) { return tensor.strides[i]; };
    if (!has_layout(param, 1, size, stride) || !is_aligned(data, *type)) return {};
    return Seen{std::move(exchanged.keeper), data, *type};
}

/// What a dict has under a name; null where that is None as well.
py::object item(const py::dict& dict, py::handle name) {
    PyObject* const found = PyDict_GetItemWithError(dict.ptr(), name.ptr());
    if (!found && PyErr_Occurred()) throw py::error_already_set();
    return found == Py_None ? py::object() : py::reinterpret_borrow<py::object>(found);
}

std::optional<Type> type_of(const py::object& typestr) {
    if (!typestr || !PyUnicode_Check(typestr.ptr())) return {};
    for (const auto& [name, type] : {std::pair("<f4", Type::float32), {"<f8", Type::float64}, {"<f2", Type::float16}})
        if (PyUnicode_CompareWithASCIIString(typestr.ptr(), name) == 0) return type;
    return {};
}

bool is_tuple(const py::object& found, size_t size) {
    return found && PyTuple_Check(found.ptr()) && size_t(PyTuple_GET_SIZE(found.ptr())) == size;
}
int64_t number(const py::object& tuple, size_t i) {
    const long long found = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple.ptr(), py::ssize_t(i)));
    if (found == -1 && PyErr_Occurred()) throw py::error_already_set();
    return found;
}

/// By the dict that describes a CUDA array.
std::optional<Seen> by_interface(py::handle object, const Layout& param) {
    static const py::handle names[] = {interned("__cuda_array_interface__"),
                                       interned("typestr"),
                                       interned("shape"),
                                       interned("strides"),
                                       interned("data"),
                                       interned("mask")};
    const py::object given = object.attr(names[0]);
    if (!PyDict_CheckExact(given.ptr())) return {};
    const auto dict = py::reinterpret_borrow<py::dict>(given);
    const std::optional<Type> type = type_of(item(dict, names[1]));
    const py::object shape = item(dict, names[2]), strides = item(dict, names[3]), data = item(dict, names[4]);
    const size_t ndim = param.shape.size();
    if (!type || !is_tuple(shape, ndim) || (strides && !is_tuple(strides, ndim)) || !is_tuple(data, 2)) return {};
    if (item(dict, names[5]) || PyTuple_GET_ITEM(data.ptr(), 1) != Py_False) return {};
    const auto size = [&](size_t i) { return number(shape, i); };
    const auto stride = [&](size_t i) {
        if (strides) return number(strides, i);
        int64_t in_order = size_of(*type);
        for (size_t later = i + 1; later < ndim; ++later) in_order *= param.shape[later];
        return in_order;
    };
    const auto address = reinterpret_cast<const void*>(number(data, 0));
    if (!address || !has_layout(param, size_of(*type), size, stride) || !is_aligned(address, *type)) return {};
    if (cuda_backend().device_of(address) != param.device.index) return {};
    return Seen{given, address, *type};
}

std::optional<Seen> look(py::handle object, const Layout& param) {
    const Producer producer = Producer::of(Py_TYPE(object.ptr()));
    if (producer.is_negative(object)) return {};
    if (std::optional<Exchanged> exchanged = producer.exchange(object)) return by_table(std::move(*exchanged), param);
    if (param.device.kind == Device::cuda && producer.has_interface()) return by_interface(object, param);
    return {};
}

}  // namespace

std::optional<Seen> see(py::handle object, const Layout& param) {
    if (param.size == 0 || py::isinstance<py::array>(object)) return {};
    try {
        return look(object, param);
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) throw;  // an interruption
        return {};
    }
}

}  // namespace fusedstep::bindings
