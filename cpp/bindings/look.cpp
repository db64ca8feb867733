#include "look.hpp"

#include <unordered_map>

#include "cuda.hpp"

namespace fusedstep::bindings {
namespace {

/// A name that is compared by its address, and stays.
py::handle interned(const char* text) { return PyUnicode_InternFromString(text); }

/// Whether a class has a name; an error that says something else goes through.
bool has(PyTypeObject* type, const char* name) {
    const auto found =
        py::reinterpret_steal<py::object>(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), name));
    if (found) return true;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
    PyErr_Clear();
    return false;
}

/// How a class's arrays are asked.
struct Producer {
    int (*describe)(void* object, dlpack::Tensor* described) = nullptr;  ///< null where they cannot be asked so
    bool has_negatives = false;  ///< an array may be a view of the negatives of what its memory holds
    bool has_interface = false;
};

/// The table of a class of which it is known what keeps an array's memory. One that inherits it may have its data
/// elsewhere, in an array that it wraps.
const dlpack::Exchange* table_of(PyTypeObject* type) {
    static const py::handle name = interned("__dlpack_c_exchange_api__");
    const py::object own = py::handle(reinterpret_cast<PyObject*>(type)).attr("__dict__");
    if (!own.contains(name) || !has(type, "untyped_storage")) return nullptr;
    const auto* table =
        static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(py::object(own[name]).ptr(), "dlpack_exchange_api"));
    if (!table) throw py::error_already_set();
    while (table && table->major > dlpack::Exchange::known) table = table->older;
    return table && table->major == dlpack::Exchange::known ? table : nullptr;
}

/// Asked once for each class that can be asked, which then stays as long as the process.
Producer producer_of(PyTypeObject* type) {
    static auto& known = *new std::unordered_map<PyTypeObject*, Producer>;
    const auto place = known.find(type);
    if (place != known.end()) return place->second;
    const dlpack::Exchange* const table = table_of(type);
    const Producer found{table ? table->describe : nullptr, has(type, "is_neg"), has(type, "__cuda_array_interface__")};
    if (!found.describe && !found.has_interface) return found;
    Py_INCREF(type);
    return known.emplace(type, found).first->second;
}

py::object call(py::handle object, py::handle method) {
    const auto result = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object.ptr(), method.ptr()));
    if (!result) throw py::error_already_set();
    return result;
}

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

std::optional<Seen> by_table(const Producer& producer, py::handle object, const Layout& param) {
    static const py::handle is_neg = interned("is_neg"), untyped_storage = interned("untyped_storage");
    if (producer.has_negatives && call(object, is_neg).ptr() != Py_False) return {};
    py::object keeper = call(object, untyped_storage);
    // From here on nothing runs that could give the array other memory.
    dlpack::Tensor tensor{};
    if (producer.describe(object.ptr(), &tensor) != 0) {
        if (PyErr_Occurred()) throw py::error_already_set();
        return {};
    }
    const std::optional<Type> type = type_of(tensor.type);
    const auto ndim = int32_t(param.shape.size());
    if (!type || device_of(tensor.device) != param.device || !tensor.data || tensor.ndim != ndim) return {};
    if (ndim && (!tensor.shape || !tensor.strides)) return {};
    const void* const data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
    const auto size = [&](size_t i) { return tensor.shape[i]; };
    const auto stride = [&](size_t i) { return tensor.strides[i]; };
    if (!has_layout(param, 1, size, stride) || !is_aligned(data, *type)) return {};
    return Seen{std::move(keeper), data, *type};
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
    const Producer producer = producer_of(Py_TYPE(object.ptr()));
    if (producer.describe) return by_table(producer, object, param);
    const bool on_device = param.device.kind == Device::cuda;
    if (on_device && producer.has_interface && !producer.has_negatives) return by_interface(object, param);
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
