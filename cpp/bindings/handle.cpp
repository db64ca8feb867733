#include "handle.hpp"

#include "answer.hpp"

namespace fusedstep::bindings {

/// The functions are of torch/csrc/inductor/aoti_torch/c/shim.h, whose binary form stays, and return 0 where nothing
/// went wrong; what makes their tensors may be another in another torch.
struct Handle::Torch {
    py::object make;
    Address address;
    Dimensions dimensions;
    Strides strides;
    Release release;
    py::object tensor, parameter;  ///< classes; others may have their data elsewhere, and say so in Python
};

std::unique_ptr<Handle::Torch> Handle::open() try {
    const py::module_ torch = py::module_::import("torch"), ctypes = py::module_::import("ctypes");
    const py::object core = torch.attr("_C"), library = ctypes.attr("CDLL")(core.attr("__file__"));
    const auto symbol = [&](const char* name) {
        const py::object pointer = ctypes.attr("cast")(library.attr(name), ctypes.attr("c_void_p"));
        return reinterpret_cast<void*>(pointer.attr("value").cast<uintptr_t>());
    };
    return std::make_unique<Torch>(Torch{core.attr("_aoti").attr("unsafe_alloc_void_ptr_from_tensor"),
                                         reinterpret_cast<Address>(symbol("aoti_torch_get_data_ptr")),
                                         reinterpret_cast<Dimensions>(symbol("aoti_torch_get_dim")),
                                         reinterpret_cast<Strides>(symbol("aoti_torch_get_strides")),
                                         reinterpret_cast<Release>(symbol("aoti_torch_delete_tensor_object")),
                                         torch.attr("Tensor"), torch.attr("nn").attr("Parameter")});
} catch (const py::cast_error&) {
    return {};
} catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // an interruption
    return {};
}

/// Opened once, for as long as the process. Whoever waited for a static variable that another thread makes would keep
/// Python's lock from it: two may open it, and the second finds that the first has.
const Handle::Torch* Handle::torch() {
    static bool opened = false;
    static const Torch* known = nullptr;
    if (opened || !py::module_::import("sys").attr("modules").contains("torch")) return known;
    std::unique_ptr<Torch> own = open();
    if (!opened) known = own.release();
    opened = true;
    return known;
}

Handle::Handle(void* tensor, py::handle type, const Torch& torch)
    : tensor_(tensor, torch.release), type_(reinterpret_cast<PyTypeObject*>(type.ptr())), torch_(&torch) {}

std::optional<Handle> Handle::of(const py::object& object) {
    const Torch* const known = torch();
    if (!known) return {};
    const py::handle type = py::type::handle_of(object);
    if (!type.is(known->tensor) && !type.is(known->parameter)) return {};
    const auto made = py::reinterpret_steal<py::object>(PyObject_CallOneArg(known->make.ptr(), object.ptr()));
    forget_error();
    if (!made || !PyCapsule_IsValid(made.ptr(), nullptr)) return {};
    return Handle(PyCapsule_GetPointer(made.ptr(), nullptr), type, *known);
}

std::optional<Handle::Place> Handle::place(const py::object& object) const {
    void *data = nullptr, *const tensor = tensor_.get();
    int64_t ndim = 0, *strides = nullptr;
    if (Py_TYPE(object.ptr()) != type_ || torch_->address(tensor, &data) != 0 ||
        torch_->dimensions(tensor, &ndim) != 0 || torch_->strides(tensor, &strides) != 0)
        return {};
    return Place{reinterpret_cast<uintptr_t>(data), ndim, strides};
}

}  // namespace fusedstep::bindings
