#include "plan.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "cpu/step.hpp"
#include "options.hpp"

namespace fusedstep::bindings {
namespace {

/// Below this, a step is over before another thread could use the interpreter.
constexpr int64_t worth_releasing = 32768;

}  // namespace

/// Marks the plan as in use. Two steps at a time on one optimizer would race for its counters and its state.
class Plan::Busy {
public:
    explicit Busy(Plan& plan) : plan_(plan) {
        if (plan_.busy_.exchange(true))
            throw std::runtime_error(plan_.optimizer_ +
                                     ": a step must be over before the next begins, got a second call during one");
    }
    ~Busy() { plan_.busy_.store(false); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

private:
    Plan& plan_;
};

/// A flag that is up for a scope.
struct Plan::Flag {
    bool& flag;
    explicit Flag(bool& raised) : flag(raised) { flag = true; }
    ~Flag() { flag = false; }
};

Plan::Plan(std::string optimizer, bool entry_per_group)
    : optimizer_(std::move(optimizer)), entry_per_group_(entry_per_group) {}

void Plan::add(const py::object& params, const std::string& method, const py::dict& options,
               const py::function& provide, const py::dict& extents) {
    const Busy busy(*this);
    std::vector<Leaf> leaves;
    Structure structure = Structure::of(params, entries_.size(), optimizer_, leaves);
    Group group = read_group(method, options);
    const States states = states_of(group);

    std::vector<Entry> added;
    std::vector<Span> claims;
    auto places = places_;
    for (const Leaf& leaf : leaves) {
        const Where where{optimizer_, "params", leaf.path};
        if (!places.emplace(leaf.name, entries_.size() + added.size()).second)
            throw py::value_error(where.text() + " must have a name of its own, got '" + leaf.name + "' a second time");
        py::array array = check_param(leaf.value, where);
        added.push_back(
            {leaf.name, leaf.path, array, Layout(array), read_extent(leaf.name, array.size(), extents), {}});
        claims.push_back(span_of(array, where));
    }
    {
        // Parameters that overlap are refused before any state is made for them.
        Territory trial = territory_;
        trial.claim(claims);
    }
    for (Entry& entry : added) entry.states = provide_states(entry, states, provide, claims);
    territory_.claim(std::move(claims));
    places_ = std::move(places);

    const size_t first = entries_.size();
    plan_.groups.push_back(std::move(group));
    options_.push_back({method, options, {}, {}, std::move(structure), first});
    see(options_.back());
    for (Entry& entry : added) {
        Tensor tensor;
        tensor.group = int(plan_.groups.size()) - 1;
        tensor.type = entry.layout.type;
        tensor.size = entry.layout.size;
        tensor.extent = entry.extent;
        tensor.buffers.param = entry.param.mutable_data();
        plan_.tensors.push_back(tensor);
        entries_.push_back(std::move(entry));
        attach(entries_.size() - 1);
    }
    for (Entry& entry : entries_) entry.last_grad = nullptr;
    ++version;
}

std::vector<std::pair<std::string, py::array>> Plan::provide_states(const Entry& entry, const States& states,
                                                                    const py::function& provide,
                                                                    std::vector<Span>& claims) const {
    std::vector<std::pair<std::string, py::array>> made;
    for (const State& state : states) {
        const std::string path = state_path(entry, state.name);
        const Where where{optimizer_, "state", path}, of{optimizer_, "params", entry.path};
        const py::object given = provide(entry.name, entry.param, state);
        py::array array = state.kind == State::scalar ? check_scalar(given, where)
                          : state.kind == State::ring ? check_ring(given, entry.layout, state.planes, where, of)
                                                      : check_state(given, entry.layout, where, of);
        claims.push_back(span_of(array, where));
        made.emplace_back(state.name, std::move(array));
    }
    return made;
}

/// Gives the kernel the addresses of a tensor's states.
void Plan::attach(size_t tensor) {
    Tensor& target = plan_.tensors[tensor];
    Entry& entry = entries_[tensor];
    const States states = states_of(plan_.groups[size_t(target.group)]);
    std::fill(std::begin(target.buffers.state), std::end(target.buffers.state), nullptr);
    target.ring = {};
    target.carry = nullptr;
    int place = 0;
    for (size_t i = 0; i < states.size(); ++i) {
        void* data = entry.states[i].second.mutable_data();
        if (states[i].kind == State::ring)
            target.ring = {data, target.size, states[i].planes};
        else if (states[i].kind == State::scalar)
            target.carry = static_cast<double*>(data);
        else
            target.buffers.state[place++] = data;
    }
}

void Plan::refresh(size_t index, const py::function& provide) {
    std::optional<Busy> busy;
    if (!settling_) busy.emplace(*this);
    Options& options = options_.at(index);
    Group group = read_group(options.method, options.dict);
    const States states = states_of(group);
    const size_t last = index + 1 < options_.size() ? options_[index + 1].first : entries_.size();
    std::vector<std::vector<std::pair<std::string, py::array>>> all;
    std::vector<Span> ignored;
    for (size_t i = options.first; i < last; ++i) {
        const auto keep = py::cpp_function([&](const std::string& name, const py::array& param, const State& state) {
            for (const auto& [known, array] : entries_[i].states)
                if (known == state.name) return py::object(array);
            return provide(name, param, state);
        });
        all.push_back(provide_states(entries_[i], states, py::function(keep), ignored));
    }
    plan_.groups[index] = std::move(group);
    for (size_t i = options.first; i < last; ++i) {
        entries_[i].states = std::move(all[i - options.first]);
        attach(i);
    }
    survey();
    see(options);
}

/// Finds out anew which memory is written to, and forgets what was known of gradients.
void Plan::survey() {
    std::vector<Span> spans;
    for (Entry& entry : entries_) {
        spans.push_back(span_of(entry.param, {optimizer_, "params", entry.path}));
        for (const auto& [state, array] : entry.states)
            spans.push_back(span_of(array, {optimizer_, "state", state_path(entry, state)}));
        entry.last_grad = nullptr;
    }
    Territory territory;
    territory.claim(std::move(spans));
    territory_ = std::move(territory);
}

std::string Plan::state_path(const Entry& entry, const std::string& state) {
    return "['" + entry.name + "']['" + state + "']";
}

/// Remembers the items of a group's dict: as long as they are the same objects, nothing has changed.
void Plan::see(Options& options) {
    options.seen.clear();
    for (const auto& [key, value] : options.dict)
        options.seen.emplace_back(py::reinterpret_borrow<py::object>(key), py::reinterpret_borrow<py::object>(value));
    const py::object lr = options.dict["lr"];
    options.schedule = PyCallable_Check(lr.ptr()) ? lr : py::object();
}

bool Plan::unchanged(const Options& options) const {
    if (size_t(PyDict_Size(options.dict.ptr())) != options.seen.size()) return false;
    Py_ssize_t position = 0;
    PyObject *key, *value;
    for (const auto& [seen_key, seen_value] : options.seen)
        if (!PyDict_Next(options.dict.ptr(), &position, &key, &value) || key != seen_key.ptr() ||
            value != seen_value.ptr())
            return false;
    return true;
}

void Plan::settle(const py::object& owner) {
    for (size_t i = 0; i < options_.size(); ++i) {
        if (unchanged(options_[i])) continue;
        const Flag settling(settling_);
        owner.attr("_refresh")(i);
    }
}

void Plan::take(size_t tensor, py::handle grad) {
    Tensor& target = plan_.tensors[tensor];
    target.buffers.grad = nullptr;
    if (grad.is_none()) return;
    Entry& entry = entries_[tensor];
    const Where where{optimizer_, "grads", entry.path};
    py::array array = fits(grad, entry.layout)
                          ? py::reinterpret_borrow<py::array>(grad)
                          : check_like(grad, entry.layout, where, {optimizer_, "params", entry.path});
    if (array.data() != entry.last_grad) {
        territory_.keep_out(array, where);
        entry.last_grad = array.data();
    }
    static const char nothing = 0;  // an empty array may have no address, and still takes part
    target.buffers.grad = array.size() ? array.data() : &nothing;
    held_.push_back(std::move(array));
}

void Plan::match(const py::object& grads) {
    held_.clear();
    const auto one = [&](const Options& group, py::handle entry) {
        group.structure.match(entry, optimizer_, [&](size_t leaf, py::handle grad) { take(group.first + leaf, grad); });
    };
    if (options_.size() == 1 && !entry_per_group_) return one(options_[0], grads);
    if (!PyList_Check(grads.ptr()) && !PyTuple_Check(grads.ptr()))
        throw py::type_error(optimizer_ + ": grads must be a list with one entry for each group, got " +
                             Py_TYPE(grads.ptr())->tp_name);
    if (py::len(grads) != options_.size())
        throw py::value_error(optimizer_ + ": grads must have " + std::to_string(options_.size()) +
                              " entries, one for each group, got " + std::to_string(py::len(grads)));
    const py::sequence entries = py::reinterpret_borrow<py::sequence>(grads);
    for (size_t i = 0; i < options_.size(); ++i) one(options_[i], entries[i]);
}

void Plan::call_schedules() {
    for (size_t i = 0; i < options_.size(); ++i) {
        if (!options_[i].schedule) continue;
        const py::object given = options_[i].schedule(calls);
        const bool number = PyNumber_Check(given.ptr()) && !PyBool_Check(given.ptr());
        const double lr = number ? PyFloat_AsDouble(given.ptr()) : -1;
        PyErr_Clear();
        if (!std::isfinite(lr) || lr < 0)
            throw py::value_error(optimizer_ + ": lr must be a schedule of finite numbers that are not negative, got " +
                                  py::repr(given).cast<std::string>() + " at step " + std::to_string(calls));
        plan_.groups[i].lr = lr;
    }
}

void Plan::release() {
    for (Tensor& tensor : plan_.tensors) tensor.buffers.grad = nullptr;
    held_.clear();
}

void Plan::run() {
    int64_t total = 0;
    for (const Tensor& tensor : plan_.tensors)
        if (tensor.buffers.grad) total += tensor.size;
    if (total < worth_releasing) {
        cpu::step(plan_);
    } else {
        const py::gil_scoped_release released;
        cpu::step(plan_);
    }
    ++calls;
}

void Plan::step(const py::object& owner, const py::object& grads) {
    const Busy busy(*this);
    settle(owner);
    match(grads);
    call_schedules();
    run();
    release();
}

Plan::Grads Plan::bind(const py::object& owner, const py::object& grads) {
    const Busy busy(*this);
    settle(owner);
    match(grads);
    Grads bound{version, std::move(held_), {}};
    for (const Tensor& tensor : plan_.tensors) bound.data.push_back(tensor.buffers.grad);
    release();
    return bound;
}

void Plan::step_bound(const py::object& owner, const Grads& grads) {
    const Busy busy(*this);
    if (version != grads.version)
        throw std::runtime_error(
            optimizer_ + ": bound gradients must be bound again after parameters were added or state was loaded");
    settle(owner);
    call_schedules();
    for (size_t i = 0; i < grads.data.size(); ++i) plan_.tensors[i].buffers.grad = grads.data[i];
    run();
    release();
}

py::list Plan::prepare(const py::object& owner, const py::object& grads) {
    const Busy busy(*this);
    settle(owner);
    match(grads);
    call_schedules();
    py::list work;
    size_t next = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
        const Tensor& tensor = plan_.tensors[i];
        if (!tensor.buffers.grad) continue;
        work.append(py::make_tuple(entries_[i].name, tensor.group, tensor.step + 1,
                                   plan_.groups[size_t(tensor.group)].lr, held_[next++]));
    }
    return work;
}

void Plan::advance() {
    for (Tensor& tensor : plan_.tensors)
        if (tensor.buffers.grad) ++tensor.step;
    ++calls;
    release();
}

void Plan::forget() {
    entries_.clear();
    places_.clear();
    options_.clear();
    held_.clear();
    plan_ = {};
    ++version;
}

size_t Plan::find(const std::string& name) const {
    const auto found = places_.find(name);
    if (found == places_.end()) throw py::key_error(name);
    return found->second;
}

py::object Plan::group_structure(size_t index) const {
    const Options& group = options_.at(index);
    return group.structure.fill([&](size_t leaf) { return py::object(entries_[group.first + leaf].param); });
}

py::object Plan::structure(const py::dict& leaves) const {
    py::list all;
    for (const Options& group : options_)
        all.append(group.structure.fill(
            [&](size_t leaf) { return py::object(leaves[py::str(entries_[group.first + leaf].name)]); }));
    return entry_per_group_ || options_.size() != 1 ? py::object(all) : py::object(all[0]);
}

std::vector<std::string> Plan::names() const {
    std::vector<std::string> names;
    for (const Entry& entry : entries_) names.push_back(entry.name);
    return names;
}

py::dict Plan::arrays(const std::string& name) const {
    py::dict made;
    for (const auto& [state, array] : entries_[find(name)].states) made[py::str(state)] = array;
    return made;
}

py::array Plan::param(const std::string& name) const { return entries_[find(name)].param; }

int64_t Plan::get_step(const std::string& name) const { return plan_.tensors[find(name)].step; }
void Plan::set_step(const std::string& name, int64_t step) { plan_.tensors[find(name)].step = step; }

std::pair<int64_t, int64_t> Plan::get_extent(const std::string& name) const {
    const Extent& extent = plan_.tensors[find(name)].extent;
    return {extent.offset, extent.whole};
}

Extent Plan::read_extent(const std::string& name, int64_t size, const py::dict& extents) const {
    if (!extents.contains(name.c_str())) return {0, size};
    const py::object given = extents[name.c_str()];
    if (PyTuple_Check(given.ptr()) && py::len(given) == 2) {
        const py::handle offset = PyTuple_GET_ITEM(given.ptr(), 0), whole = PyTuple_GET_ITEM(given.ptr(), 1);
        if (PyLong_Check(offset.ptr()) && PyLong_Check(whole.ptr())) {
            const Extent extent{offset.cast<int64_t>(), whole.cast<int64_t>()};
            if (extent.offset >= 0 && size <= extent.whole && extent.offset <= extent.whole - size) return extent;
        }
    }
    throw py::value_error(optimizer_ + ": extents['" + name +
                          "'] must be (offset, size of the whole), which holds the " + std::to_string(size) +
                          " elements of the parameter, got " + py::repr(given).cast<std::string>());
}

}  // namespace fusedstep::bindings
