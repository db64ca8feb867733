#include "look.hpp"

#include <unordered_map>

#include "cuda.hpp"

namespace fusedstep::bindings {
namespace {

/// A name that is compared by its address, and stays.
py::handle interned(const char* text) { return PyUnicode_InternFromString(text); }

/// How a class's arrays are asked.
struct Producer {
    int (*describe)(void* object, dlpack::Tensor* described) = nullptr;  ///< null where they cannot be asked so
    bool has_interface = false;
    bool has_negatives = false;  ///< an array may be a view of the negatives of what its memory holds
    bool has_storage = false;    ///< an array may be given other memory than its own
};

/// The table of the class that has one, unless a class before it says otherwise how its arrays are described, or what
/// happens with them: their data may be elsewhere (torch's wrappers).
const dlpack::Exchange* table_of(PyTypeObject* type) {
    static const py::handle table = interned("__dlpack_c_exchange_api__");
    static const py::handle others[] = {interned("__dlpack__"), interned("__torch_dispatch__")};
    for (const py::handle one : py::reinterpret_borrow<py::tuple>(type->tp_mro)) {
        const auto own = py::reinterpret_borrow<py::object>(one).attr("__dict__");
        if (own.contains(table))
            return static_cast<const dlpack::Exchange*>(
                PyCapsule_GetPointer(py::object(own[table]).ptr(), "dlpack_exchange_api"));
        for (const py::handle other : others)
            if (own.contains(other)) return nullptr;
    }
    return nullptr;
}

Producer producer_of(PyTypeObject* type) {
    const dlpack::Exchange* table = table_of(type);
    if (PyErr_Occurred()) throw py::error_already_set();
    while (table && table->major > dlpack::Exchange::known) table = table->older;
    const bool known = table && table->major == dlpack::Exchange::known;
    const auto has = [own = py::handle(reinterpret_cast<PyObject*>(type))](const char* name) {
        return py::hasattr(own, name);
    };
    return {known ? table->describe : nullptr, has("__cuda_array_interface__"), has("is_neg"), has("untyped_storage")};
}

/// Asked once for each class, which then stays as long as the process.
const Producer& known_producer(PyTypeObject* type) {
    static auto& known = *new std::unordered_map<PyTypeObject*, Producer>;
    const auto place = known.find(type);
    if (place != known.end()) return place->second;
    const Producer found = producer_of(type);
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
template <class Axis>
bool has_layout(size_t ndim, const Axis& axis, int64_t units, const Layout& param) {
    if (ndim != param.shape.size()) return false;
    for (size_t i = 0; i < ndim; ++i) {
        const auto [size, stride] = axis(i);
        if (size != param.shape[i] || (size != 1 && stride * param.itemsize != param.strides[i] * units)) return false;
    }
    return true;
}

bool is_aligned(const void* data, Type type) {
    return reinterpret_cast<uintptr_t>(data) % uintptr_t(size_of(type)) == 0;
}

std::optional<Seen> by_table(const Producer& producer, py::handle object, const Layout& param) {
    static const py::handle is_neg = interned("is_neg"), untyped_storage = interned("untyped_storage");
    if (producer.has_negatives && call(object, is_neg).ptr() != Py_False) return {};
    dlpack::Tensor tensor;
    if (producer.describe(object.ptr(), &tensor) != 0) {
        PyErr_Clear();
        return {};
    }
    const std::optional<Type> type = type_of(tensor.type);
    if (!type || device_of(tensor.device) != param.device || !tensor.data || (tensor.ndim && !tensor.strides))
        return {};
    const auto axis = [&](size_t i) { return std::pair(tensor.shape[i], tensor.strides[i]); };
    const void* const data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
    if (!has_layout(size_t(tensor.ndim), axis, 1, param) || !is_aligned(data, *type)) return {};
    return Seen{producer.has_storage ? call(object, untyped_storage) : py::reinterpret_borrow<py::object>(object), data,
                *type};
}

/// What a dict has under a name; null where that is None as well.
PyObject* item(const py::dict& dict, py::handle name) {
    PyObject* const found = PyDict_GetItemWithError(dict.ptr(), name.ptr());
    return found == Py_None ? nullptr : found;
}

std::optional<Type> type_of(PyObject* typestr) {
    if (!typestr || !PyUnicode_Check(typestr)) return {};
    for (const auto& [name, type] : {std::pair("<f4", Type::float32), {"<f8", Type::float64}, {"<f2", Type::float16}})
        if (PyUnicode_CompareWithASCIIString(typestr, name) == 0) return type;
    return {};
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
    if (!PyDict_Check(given.ptr())) return {};
    const auto dict = py::reinterpret_borrow<py::dict>(given);
    const std::optional<Type> type = type_of(item(dict, names[1]));
    PyObject* const shape = item(dict, names[2]);
    PyObject* const strides = item(dict, names[3]);
    PyObject* const data = item(dict, names[4]);
    const size_t ndim = param.shape.size();
    const auto is_tuple = [](PyObject* found, size_t size) {
        return found && PyTuple_Check(found) && size_t(PyTuple_GET_SIZE(found)) == size;
    };
    if (!type || !is_tuple(shape, ndim) || (strides && !is_tuple(strides, ndim)) || !is_tuple(data, 2) ||
        item(dict, names[5]))
        return {};
    const auto number = [](PyObject* tuple, size_t i) {
        const py::ssize_t found = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, py::ssize_t(i)));
        if (found == -1 && PyErr_Occurred()) throw py::error_already_set();
        return found;
    };
    const auto axis = [&](size_t i) {
        if (strides) return std::pair(number(shape, i), number(strides, i));
        int64_t behind = size_of(*type);
        for (size_t later = i + 1; later < ndim; ++later) behind *= number(shape, later);
        return std::pair(number(shape, i), behind);
    };
    const auto address = reinterpret_cast<const void*>(number(data, 0));
    if (!address || !has_layout(ndim, axis, size_of(*type), param) || !is_aligned(address, *type)) return {};
    if (cuda_backend().device_of(address) != param.device.index) return {};
    return Seen{py::reinterpret_borrow<py::object>(object), address, *type};
}

std::optional<Seen> look(py::handle object, const Layout& param) {
    const Producer& producer = known_producer(Py_TYPE(object.ptr()));
    if (producer.describe) return by_table(producer, object, param);
    const bool on_device = param.device.kind == Device::cuda;
    if (on_device && producer.has_interface && !producer.has_negatives) return by_interface(object, param);
    return {};
}

}  // namespace

std::optional<Seen> see(py::handle object, const Layout& param) {
    if (param.size == 0) return {};
    try {
        return look(object, param);
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) throw;  // an interruption
        return {};
    }
}

}  // namespace fusedstep::bindings
