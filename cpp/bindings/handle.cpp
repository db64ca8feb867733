#include "handle.hpp"

namespace fusedstep::bindings {

/// From torch/csrc/inductor/aoti_torch/c/shim.h: the functions return 0 where nothing went wrong.
struct Handle::Torch {
    py::object make;
    Address address;
    Release release;
    py::object tensor, parameter;  ///< classes; others may have their data elsewhere, and say so in Python
};

/// Nothing where this torch is another than is known here.
std::optional<Handle::Torch> Handle::open() try {
    const py::module_ torch = py::module_::import("torch"), ctypes = py::module_::import("ctypes");
    const py::object core = torch.attr("_C"), library = ctypes.attr("CDLL")(core.attr("__file__"));
    const auto symbol = [&](const char* name) {
        const py::object pointer = ctypes.attr("cast")(library.attr(name), ctypes.attr("c_void_p"));
        return reinterpret_cast<void*>(pointer.attr("value").cast<uintptr_t>());
    };
    return Torch{core.attr("_aoti").attr("unsafe_alloc_void_ptr_from_tensor"),
                 reinterpret_cast<Address>(symbol("aoti_torch_get_data_ptr")),
                 reinterpret_cast<Release>(symbol("aoti_torch_delete_tensor_object")), torch.attr("Tensor"),
                 torch.attr("nn").attr("Parameter")};
} catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // an interruption
    return {};
}

/// Opened once, for as long as the process.
const Handle::Torch* Handle::torch() {
    if (!py::module_::import("sys").attr("modules").contains("torch")) return nullptr;
    static const auto& opened = *new std::optional(open());
    return opened ? &*opened : nullptr;
}

Handle::Handle(void* tensor, const Torch& torch) : tensor_(tensor, torch.release), address_(torch.address) {}

std::optional<Handle> Handle::of(const py::object& object) {
    const Torch* const known = torch();
    if (!known) return {};
    const py::handle type = py::type::handle_of(object);
    if (!type.is(known->tensor) && !type.is(known->parameter)) return {};
    const py::object made = known->make(object);
    void* const tensor = PyCapsule_GetPointer(made.ptr(), nullptr);
    if (!tensor) throw py::error_already_set();
    return Handle(tensor, *known);
}

std::optional<uintptr_t> Handle::address() const {
    void* data = nullptr;
    if (address_(tensor_.get(), &data) != 0) return {};
    return reinterpret_cast<uintptr_t>(data);
}

}  // namespace fusedstep::bindings
