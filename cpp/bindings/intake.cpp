// What a step is given: matched with the parameters, checked, and held until its end.
#include <algorithm>

#include "look.hpp"
#include "plan.hpp"
#include "stages.hpp"

namespace fusedstep::bindings {
/// A step on memory that its tensors have left would be lost. Nothing that runs Python may come behind this.
void Plan::check_places() const {
    if (!movable_) return;
    for (size_t i = 0; i < entries_.size(); ++i)
        if (plan_.tensors[i].buffers.grad) check_places(i);
}

bool Plan::has_moved() const {
    return std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
        return std::any_of(entry.movable.begin(), entry.movable.end(),
                           [](const auto& one) { return one.second.has_moved(); });
    });
}

void Plan::check_places(size_t tensor) const {
    const Entry& entry = entries_[tensor];
    for (const auto& [number, movable] : entry.movable)
        if (movable.has_moved())
            refuse_move(optimizer_ + ": " + called(entry, place_of(size_t(plan_.tensors[tensor].group)), number));
}

/// `quickly`: of another library's array its memory is held, not an array that describes it.
void Plan::take(size_t tensor, py::handle grad, bool quickly) {
    if (grad.is_none()) return;
    Entry& entry = entries_[tensor];
    if (of_copy_) check_written(entry.param, where(params_, tensor));
    Tensor& target = plan_.tensors[tensor];
    const auto keep_out = [&](const void* data, int64_t bytes) {
        if (data == entry.last_grad && bytes <= entry.last_bytes) return;
        territory_.keep_out(data, bytes, where(grads_, tensor), array_names());
        entry.last_grad = data;
        entry.last_bytes = bytes;
    };
    const bool own = !stepper_ && fits(grad, entry.layout);
    if (quickly && !own)
        if (const std::optional<Seen> seen = see(grad, entry.layout)) {
            keep_out(seen->data, entry.layout.size * size_of(seen->type));
            target.buffers.grad = seen->data;
            target.cargo.grad.type = seen->type;
            held_[tensor].grad = py::reinterpret_borrow<py::object>(grad);
            held_[tensor].keeper = seen->keeper;
            return;
        }
    py::array array = own ? py::reinterpret_borrow<py::array>(grad)
                          : check_grad(grad, entry.layout, where(grads_, tensor), where(params_, tensor));
    target.cargo.grad.type = own ? entry.layout.type : type_of(array);
    keep_out(array.data(), array.nbytes());
    static const char nothing = 0;  // an empty array may have no address, and still takes part
    target.buffers.grad = array.size() ? array.data() : &nothing;
    held_[tensor].grad = std::move(array);
}

void Plan::take_copy(size_t tensor, py::handle given, bool quickly) {
    if (given.is_none()) return;
    Entry& entry = entries_[tensor];
    Cargo& cargo = plan_.tensors[tensor].cargo;
    Held& held = held_[tensor];
    const std::optional<Seen> seen = quickly ? see(given, entry.layout) : std::nullopt;
    if (seen) {
        cargo.copy = const_cast<void*>(seen->data);
        cargo.copy_type = seen->type;
        held.copy_keeper = seen->keeper;
        held.copy = py::reinterpret_borrow<py::object>(given);
    } else {
        py::array array = check_copy(given, entry.layout, where(copy_to_, tensor), where(params_, tensor));
        if (array.size() == 0) return;
        cargo.copy = array.mutable_data();
        cargo.copy_type = type_of(array);
        held.copy = std::move(array);
    }
    territory_.keep_out(cargo.copy, entry.layout.size * size_of(cargo.copy_type), where(copy_to_, tensor),
                        array_names());
}

/// Where a stage's number lies that is an array on the device; nowhere where it is one of Python's.
Live Plan::take_number(const py::dict& stages, std::string_view argument) {
    const py::object given = stages[py::str(argument.data(), argument.size())];
    if (given.is_none() || PyFloat_Check(given.ptr())) return {};
    py::array array = check_number(given, entries_.front().layout.device, {optimizer_, argument}, where(params_, 0));
    const Live live{array.data(), type_of(array)};
    numbers_.push_back({argument, std::move(array)});
    return live;
}

/// Calls take(tensor, leaf) for the leaves of a tree that mirrors the parameters.
template <class Take>
void Plan::match(const py::object& tree, std::string_view argument, Take take) {
    const auto one = [&](size_t group, py::handle entry) {
        const Options& options = options_[group];
        options.structure.match(entry, {optimizer_, argument, place_of(group)}, params_,
                                [&](size_t leaf, py::handle array) { take(options.first + leaf, array); });
    };
    if (options_.size() == 1 && !entry_per_group_) return one(0, tree);
    if (!PyList_Check(tree.ptr()) && !PyTuple_Check(tree.ptr()))
        throw py::type_error(Where{optimizer_, argument}.text() +
                             " must be a list with one entry for each group, got " + type_name(tree));
    const py::tuple entries(tree);  // whatever becomes of a list while its arrays are read
    if (entries.size() != options_.size())
        throw py::value_error(Where{optimizer_, argument}.text() + " must have " + std::to_string(options_.size()) +
                              " entries, one for each group, got " + std::to_string(entries.size()));
    for (size_t i = 0; i < options_.size(); ++i) one(i, entries[i]);
}

/// The gradients and the stages of a step. `described`: each gradient is wanted as an array.
void Plan::take_all(const py::object& grads, const py::object& given, bool described) {
    let_go();
    try {
        take_each(grads, given, described);
    } catch (const py::builtin_exception&) {
        // What does not fit a parameter may fit where that is now: that it has moved is the cause, and told instead.
        for (size_t i = 0; movable_ && i < entries_.size(); ++i) check_places(i);
        throw;
    }
}

void Plan::take_each(const py::object& grads, const py::object& given, bool described) {
    const py::dict dict = given.is_none() ? py::dict() : py::reinterpret_borrow<py::dict>(given);
    const py::object copies = given.is_none() ? py::none() : py::object(dict["copy_to"]);
    if (!given.is_none()) plan_.stages = read_stages(dict);
    plan_.stages.flush_denormals = flush_denormals_;
    held_.resize(entries_.size());
    match(grads, grads_, [&](size_t tensor, py::handle grad) { take(tensor, grad, !described); });
    if (given.is_none()) return;
    plan_.stages.live_scale = take_number(dict, grad_scale_);
    plan_.stages.live_norm = take_number(dict, norm_);
    if (!copies.is_none())
        match(copies, copy_to_, [&](size_t tensor, py::handle array) { take_copy(tensor, array, !described); });
    if (plan_.stages.zero_grad || !copies.is_none()) keep_apart(plan_.stages.zero_grad);
}

/// What a step writes besides parameters and state must not overlap anything else that it reads or writes.
void Plan::keep_apart(bool zero_grad) {
    enum Written : size_t { copy, grad };
    const Names called = [&](const Span& span) {
        return where(span.array == copy ? copy_to_ : std::string_view(grads_), span.tensor).name();
    };
    std::vector<Span> written;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        if (tensor.cargo.copy)
            written.emplace_back(tensor.cargo.copy, tensor.size * size_of(tensor.cargo.copy_type), i, copy);
        if (!tensor.buffers.grad || !zero_grad) continue;
        // Of another library's array it is known that it can be written to, if it was seen quickly.
        if (py::isinstance<py::array>(held_[i].grad)) check_written(held_[i].grad, where(grads_, i));
        written.emplace_back(tensor.buffers.grad, tensor.size * size_of(tensor.cargo.grad.type), i, grad);
    }
    Territory territory;
    territory.claim(std::move(written), optimizer_, called);
    if (zero_grad) return;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        if (tensor.buffers.grad)
            territory.keep_out(tensor.buffers.grad, tensor.size * size_of(tensor.cargo.grad.type), where(grads_, i),
                               called);
    }
}

}  // namespace fusedstep::bindings
