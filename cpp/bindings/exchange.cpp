#include "exchange.hpp"

#include <unordered_map>

namespace fusedstep::bindings {
namespace {

/// A name that is compared by its address, and stays.
py::handle interned(const char* text) { return PyUnicode_InternFromString(text); }

/// How a class's arrays are asked.
struct Producer {
    int (*describe)(void* object, dlpack::Tensor* described) = nullptr;  ///< null where they cannot be asked so
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
    if (!table || table->major != dlpack::Exchange::known) return {};
    const py::handle own = reinterpret_cast<PyObject*>(type);
    return {table->describe, py::hasattr(own, "is_neg"), py::hasattr(own, "untyped_storage")};
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

bool has_layout(const dlpack::Tensor& tensor, const Layout& param) {
    const size_t ndim = param.shape.size();
    if (size_t(tensor.ndim) != ndim || (ndim && !tensor.strides)) return false;
    for (size_t i = 0; i < ndim; ++i) {
        if (tensor.shape[i] != param.shape[i]) return false;
        if (param.shape[i] != 1 && tensor.strides[i] * param.itemsize != param.strides[i]) return false;
    }
    return true;
}

std::optional<Seen> look(py::handle object, const Layout& param) {
    static const py::handle is_neg = interned("is_neg"), untyped_storage = interned("untyped_storage");
    const Producer& producer = known_producer(Py_TYPE(object.ptr()));
    if (!producer.describe || (producer.has_negatives && call(object, is_neg).ptr() != Py_False)) return {};
    dlpack::Tensor tensor;
    if (producer.describe(object.ptr(), &tensor) != 0) {
        PyErr_Clear();
        return {};
    }
    const std::optional<Type> type = type_of(tensor.type);
    if (!type || device_of(tensor.device) != param.device || !tensor.data || !has_layout(tensor, param)) return {};
    const char* const data = static_cast<const char*>(tensor.data) + tensor.byte_offset;
    if (reinterpret_cast<uintptr_t>(data) % uintptr_t(size_of(*type)) != 0) return {};
    return Seen{producer.has_storage ? call(object, untyped_storage) : py::reinterpret_borrow<py::object>(object), data,
                *type};
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
