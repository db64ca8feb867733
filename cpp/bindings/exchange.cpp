#include "exchange.hpp"

#include <unordered_map>
#include <utility>

#include "answer.hpp"

namespace fusedstep::bindings {
namespace {

/// The table of a class of which it is known what keeps an array's memory. One that inherits it may have its data
/// elsewhere, in an array that it wraps.
const dlpack::Exchange* table_of(py::handle type) {
    static const py::handle name = PyUnicode_InternFromString("__dlpack_c_exchange_api__");
    const py::object own = type.attr("__dict__");
    if (!own.contains(name) || !attribute(type, "untyped_storage")) return nullptr;
    const auto* table =
        static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(py::object(own[name]).ptr(), "dlpack_exchange_api"));
    forget_error();
    while (table && table->major > dlpack::Exchange::known) table = table->older;
    return table && table->major == dlpack::Exchange::known ? table : nullptr;
}

/// Null where there was an error.
py::object call(py::handle object, py::handle method) {
    return py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object.ptr(), method.ptr()));
}

}  // namespace

Producer Producer::of(PyTypeObject* type) {
    static auto& known = *new std::unordered_map<PyTypeObject*, Producer>;
    const auto place = known.find(type);
    if (place != known.end()) return place->second;
    const py::handle object(reinterpret_cast<PyObject*>(type));
    Producer found;
    if (const dlpack::Exchange* const table = table_of(object)) found.describe_ = table->describe;
    found.has_negatives_ = bool(attribute(object, "is_neg"));
    found.has_interface_ = bool(attribute(object, "__cuda_array_interface__"));
    if (!found.describe_ && !found.has_interface_) return found;
    Py_INCREF(type);
    return known.emplace(type, found).first->second;
}

bool Producer::is_negative(py::handle object) const {
    static const py::handle is_neg = PyUnicode_InternFromString("is_neg");
    if (!has_negatives_) return false;
    const py::object answer = call(object, is_neg);
    if (!answer) throw py::error_already_set();
    return answer.ptr() != Py_False;
}

std::optional<Exchanged> Producer::exchange(py::handle object) const {
    static const py::handle untyped_storage = PyUnicode_InternFromString("untyped_storage");
    if (!describe_) return {};
    Exchanged made{call(object, untyped_storage), {}};
    // From here on nothing runs that could give the array other memory.
    dlpack::Tensor& tensor = made.tensor;
    const int failed = made.keeper ? describe_(object.ptr(), &tensor) : -1;
    forget_error();
    if (failed || !tensor.data || (tensor.ndim && (!tensor.shape || !tensor.strides))) return {};
    return made;
}

}  // namespace fusedstep::bindings
