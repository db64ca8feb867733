#include "torch.hpp"

namespace fusedstep::bindings {
namespace {

/// A name that is compared by its address.
class Name {
public:
    explicit Name(const char* name) : name_(PyUnicode_InternFromString(name)) {}
    py::object of(py::handle object) const { return found(PyObject_GetAttr(object.ptr(), name_)); }
    py::object call(py::handle object) const { return found(PyObject_CallMethodNoArgs(object.ptr(), name_)); }
    bool is_true(py::handle object) const { return of(object).ptr() == Py_True; }

private:
    static py::object found(PyObject* object) {
        if (!object) throw py::error_already_set();
        return py::reinterpret_steal<py::object>(object);
    }

    PyObject* name_;
};

/// What the module is asked for once, if somebody has imported it. Its objects stay as long as the process.
struct Torch {
    PyTypeObject *tensor, *parameter;
    std::vector<std::pair<PyObject*, Type>> dtypes;
    Name dtype{"dtype"}, shape{"shape"}, stride{"stride"}, is_neg{"is_neg"}, data_ptr{"data_ptr"}, is_cpu{"is_cpu"},
        is_cuda{"is_cuda"}, get_device{"get_device"}, untyped_storage{"untyped_storage"};

    explicit Torch(const py::object& module) {
        const auto object = [](const py::object& from, const char* name) {
            return py::object(from.attr(name)).release().ptr();
        };
        tensor = reinterpret_cast<PyTypeObject*>(object(module, "Tensor"));
        parameter = reinterpret_cast<PyTypeObject*>(object(module.attr("nn"), "Parameter"));
        const std::pair<const char*, Type> names[] = {{"float32", Type::float32},
                                                      {"float64", Type::float64},
                                                      {"float16", Type::float16},
                                                      {"bfloat16", Type::bfloat16}};
        for (const auto& [name, type] : names) dtypes.emplace_back(object(module, name), type);
    }

    std::optional<Type> type_of(py::handle given) const {
        const py::object its = dtype.of(given);
        for (const auto& [known, type] : dtypes)
            if (known == its.ptr()) return type;
        return {};
    }

    bool is_on(py::handle given, const Device& device) const {
        if (device.kind == Device::cpu) return is_cpu.is_true(given);
        return is_cuda.is_true(given) && PyLong_AsLong(get_device.call(given).ptr()) == device.index;
    }

    bool has_layout(py::handle given, const Layout& param) const {
        const py::object shapes = shape.of(given), strides = stride.call(given);
        const size_t ndim = param.shape.size();
        if (!PyTuple_Check(shapes.ptr()) || !PyTuple_Check(strides.ptr()) || py::len(shapes) != ndim) return false;
        for (size_t i = 0; i < ndim; ++i) {
            const auto at = [&](const py::object& tuple) {
                return PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple.ptr(), py::ssize_t(i)));
            };
            if (at(shapes) != param.shape[i]) return false;
            if (param.shape[i] != 1 && at(strides) * param.itemsize != param.strides[i]) return false;
        }
        return true;
    }

    std::optional<Seen> see(py::handle given, const Layout& param) const {
        const std::optional<Type> type = type_of(given);
        // Of an imaginary part the memory may hold the negative.
        if (!type || !is_on(given, param.device) || !has_layout(given, param) ||
            PyObject_IsTrue(is_neg.call(given).ptr()))
            return {};
        const auto address = PyLong_AsUnsignedLongLong(data_ptr.call(given).ptr());
        if (address == 0 || address % uintptr_t(size_of(*type)) != 0) return {};
        return Seen{untyped_storage.call(given), reinterpret_cast<const void*>(address), *type};
    }
};

/// The module, while nobody is still importing it; null otherwise.
const Torch* torch() {
    static const Torch* known = nullptr;
    if (known) return known;
    // Not PyImport_GetModule: it waits for a thread that is importing the module.
    static PyObject* const name = PyUnicode_InternFromString("torch");
    const auto module = py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(PyImport_GetModuleDict(), name));
    if (module && py::hasattr(module, "nn") && py::hasattr(module.attr("nn"), "Parameter")) known = new Torch(module);
    return known;
}

}  // namespace

std::optional<Seen> see_tensor(py::handle object, const Layout& param) {
    if (param.size == 0) return {};
    try {
        const Torch* const known = torch();
        // A class of its own may have its data elsewhere.
        if (!known || (Py_TYPE(object.ptr()) != known->tensor && Py_TYPE(object.ptr()) != known->parameter)) return {};
        std::optional<Seen> seen = known->see(object, param);
        if (PyErr_Occurred()) throw py::error_already_set();  // of a number that is none
        return seen;
    } catch (const py::error_already_set& error) {
        if (!error.matches(PyExc_Exception)) throw;  // an interruption
        return {};
    }
}

}  // namespace fusedstep::bindings
