#include "intake.hpp"

#include "look.hpp"
#include "stages.hpp"

namespace fusedstep::bindings {

void Intake::take(const py::object& grads, const py::object& stages, bool described) {
    let_go();
    try {
        take_all(grads, stages, described);
    } catch (const py::builtin_exception&) {
        // What does not fit a parameter may fit where that is now: that it has moved is the cause, and told instead.
        roster_.check_all_places();
        throw;
    }
}

void Intake::take_all(const py::object& grads, const py::object& given, bool described) {
    const py::dict dict = given.is_none() ? py::dict() : py::reinterpret_borrow<py::dict>(given);
    const py::object copies = given.is_none() ? py::none() : py::object(dict["copy_to"]);
    Stages& stages = roster_.plan.stages;
    if (!given.is_none()) stages = read_stages(dict);
    stages.flush_denormals = roster_.storage.flush_denormals;
    held_.resize(roster_.entries().size());
    roster_.match(grads, roster_.grads, [&](size_t tensor, py::handle grad) { take_grad(tensor, grad, !described); });
    if (given.is_none()) return;
    stages.live_scale = take_number(dict, grad_scale_);
    stages.live_norm = take_number(dict, norm_);
    if (!copies.is_none())
        roster_.match(copies, copy_to_, [&](size_t tensor, py::handle array) { take_copy(tensor, array, !described); });
    if (stages.zero_grad || !copies.is_none()) keep_apart(stages.zero_grad);
}

void Intake::take_grad(size_t tensor, py::handle grad, bool quickly) {
    if (grad.is_none()) return;
    const Roster::Entry& entry = roster_.entries()[tensor];
    const auto where = [&](const std::string& argument) { return roster_.where(argument, tensor); };
    if (entry.of_copy) check_written(entry.param, where(roster_.params));
    Tensor& target = roster_.plan.tensors[tensor];
    const bool own = entry.layout.device.kind == Device::cpu && fits(grad, entry.layout);
    if (quickly && !own)
        if (const std::optional<Seen> seen = see(grad, entry.layout)) {
            roster_.keep_out_grad(tensor, seen->data, entry.layout.size * size_of(seen->type));
            target.buffers.grad = seen->data;
            target.cargo.grad.type = seen->type;
            held_[tensor].grad = py::reinterpret_borrow<py::object>(grad);
            held_[tensor].keeper = seen->keeper;
            return;
        }
    py::array array = own ? py::reinterpret_borrow<py::array>(grad)
                          : check_grad(grad, entry.layout, where(roster_.grads), where(roster_.params));
    target.cargo.grad.type = own ? entry.layout.type : type_of(array);
    roster_.keep_out_grad(tensor, array.data(), array.nbytes());
    static const char nothing = 0;  // an empty array may have no address, and still takes part
    target.buffers.grad = array.size() ? array.data() : &nothing;
    held_[tensor].grad = std::move(array);
}

void Intake::take_copy(size_t tensor, py::handle given, bool quickly) {
    if (given.is_none()) return;
    const Layout& layout = roster_.entries()[tensor].layout;
    Cargo& cargo = roster_.plan.tensors[tensor].cargo;
    Held& held = held_[tensor];
    const Where where = roster_.where(copy_to_, tensor);
    const std::optional<Seen> seen = quickly ? see(given, layout) : std::nullopt;
    if (seen) {
        cargo.copy = const_cast<void*>(seen->data);
        cargo.copy_type = seen->type;
        held.copy_keeper = seen->keeper;
        held.copy = py::reinterpret_borrow<py::object>(given);
    } else {
        py::array array = check_copy(given, layout, where, roster_.where(roster_.params, tensor));
        if (array.size() == 0) return;
        cargo.copy = array.mutable_data();
        cargo.copy_type = type_of(array);
        held.copy = std::move(array);
    }
    roster_.keep_out(cargo.copy, layout.size * size_of(cargo.copy_type), where);
}

/// Where a stage's number lies that is an array on the device; nowhere where it is one of Python's.
Live Intake::take_number(const py::dict& stages, std::string_view argument) {
    const py::object given = stages[py::str(argument.data(), argument.size())];
    if (given.is_none() || PyFloat_Check(given.ptr())) return {};
    py::array array = check_number(given, roster_.entries().front().layout.device, {roster_.optimizer, argument},
                                   roster_.where(roster_.params, 0));
    const Live live{array.data(), type_of(array)};
    numbers_.push_back({argument, std::move(array)});
    return live;
}

/// What a step writes besides parameters and state must not overlap anything else that it reads or writes.
void Intake::keep_apart(bool zero_grad) {
    enum Written : size_t { copy, grad };
    const auto where = [&](size_t tensor) { return roster_.where(roster_.grads, tensor); };
    const Names called = [&](const Span& span) {
        return (span.array == copy ? roster_.where(copy_to_, span.tensor) : where(span.tensor)).name();
    };
    const std::vector<Tensor>& tensors = roster_.plan.tensors;
    std::vector<Span> written;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const Tensor& tensor = tensors[i];
        if (tensor.cargo.copy)
            written.emplace_back(tensor.cargo.copy, tensor.size * size_of(tensor.cargo.copy_type), i, copy);
        if (!tensor.buffers.grad || !zero_grad) continue;
        // Of another library's array it is known that it can be written to, if it was seen quickly.
        if (py::isinstance<py::array>(held_[i].grad)) check_written(held_[i].grad, where(i));
        written.emplace_back(tensor.buffers.grad, tensor.size * size_of(tensor.cargo.grad.type), i, grad);
    }
    Territory territory;
    territory.claim(std::move(written), roster_.optimizer, called);
    if (zero_grad) return;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const Tensor& tensor = tensors[i];
        if (tensor.buffers.grad)
            territory.keep_out(tensor.buffers.grad, tensor.size * size_of(tensor.cargo.grad.type), where(i), called);
    }
}

Binding Intake::bind(int64_t version) {
    Binding binding{version, ++bounds_, {}, {}, {}, roster_.plan.stages};
    const auto keep = [&](std::string_view argument, std::optional<size_t> tensor, const py::object& array) {
        if (!array) return;
        binding.arrays.push_back(array);
        if (const std::optional<Movable> movable = Movable::of(array))
            binding.places.push_back({argument, tensor, *movable});
    };
    for (size_t i = 0; i < held_.size(); ++i) {
        const Tensor& tensor = roster_.plan.tensors[i];
        binding.tensors.push_back(
            {tensor.buffers.grad, tensor.cargo.grad.type, tensor.cargo.copy, tensor.cargo.copy_type});
        keep(roster_.grads, i, held_[i].grad);
        keep(copy_to_, i, held_[i].copy);
    }
    for (const auto& [argument, array] : numbers_) keep(argument, {}, array);
    return binding;
}

void Intake::check_places(const Binding& binding) const {
    for (const auto& [argument, tensor, movable] : binding.places)
        if (movable.has_moved())
            refuse_move((tensor ? roster_.where(argument, *tensor) : Where{roster_.optimizer, argument}).text());
}

void Intake::put(const Binding& binding) {
    if (roster_.plan.bound == binding.number) return;
    let_go();
    for (size_t i = 0; i < binding.tensors.size(); ++i) {
        const Binding::Arrays& arrays = binding.tensors[i];
        Tensor& tensor = roster_.plan.tensors[i];
        tensor.buffers.grad = arrays.grad;
        tensor.cargo.grad.type = arrays.grad_type;
        tensor.cargo.copy = arrays.copy;
        tensor.cargo.copy_type = arrays.copy_type;
    }
    roster_.plan.bound = binding.number;
}

void Intake::let_go() {
    roster_.plan.bound = 0;
    for (Tensor& tensor : roster_.plan.tensors) {
        tensor.buffers.grad = nullptr;
        tensor.cargo.copy = nullptr;
    }
    held_.clear();
    numbers_.clear();
    roster_.plan.stages = {};
}

}  // namespace fusedstep::bindings
