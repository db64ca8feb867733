// The table of contents of fusedstep._core.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <fusedstep/backend_name.hpp>

#include <memory>
#include <optional>
#include <utility>

#include "../cpu/processors.hpp"
#include "../cpu/targets.hpp"
#include "../cpu/threads.hpp"
#include "collectable.hpp"
#include "cuda.hpp"
#include "function.hpp"
#include "options.hpp"
#include "plan.hpp"
#include "stats.hpp"

namespace py = pybind11;
namespace fs = fusedstep;

namespace {

/// Gradients that were checked once; `step()` finds them in the same arrays.
struct Bound {
    py::object owner;
    std::shared_ptr<fs::bindings::Plan> plan;
    fs::bindings::Binding grads;

    void check() const { plan->check_bound(grads); }
    void step() const {
        if (owner.is_none()) throw std::runtime_error("bound gradients must have their optimizer, got a collected one");
        plan->step_bound(owner, grads);
    }

    template <class Visit>
    void each_object(const Visit& visit) const {
        visit(owner);
        for (const py::object& array : grads.arrays) visit(array);
    }
    void forget() {
        owner = py::none();
        grads.version = -1;  // of no plan
        grads.places.clear();
        const std::vector<py::object> last = std::exchange(grads.arrays, {});  // whose end may run anything
    }
};

/// For `with`
struct Alone {
    std::shared_ptr<fs::bindings::Plan> plan;
    std::optional<fs::bindings::Plan::Alone> held;

    explicit Alone(std::shared_ptr<fs::bindings::Plan> plan) : plan(std::move(plan)) {}
    void enter() { held.emplace(*plan); }
    void leave(const py::args&) { held.reset(); }
};

/// What a plan's roster can be asked for.
template <class Answer, class... Question>
auto of_roster(Answer (fs::bindings::Roster::*look)(Question...) const) {
    return [look](const fs::bindings::Plan& plan, Question... question) { return (plan.roster().*look)(question...); };
}

template <class Keep>
py::tuple target_names(const Keep& keep) {
    py::list found;
    for (const fs::Target* target : fs::cpu::built_targets())
        if (keep(*target)) found.append(target->name);
    return py::tuple(found);
}

}  // namespace

PYBIND11_MODULE(_core, module) {
    module.doc() = "The compiled part of fusedstep.";
    if (!fs::cpu::active_target())
        throw py::import_error("fusedstep needs a processor with at least the x86-64-v2 instructions (SSE4.2)");

    using Companion = fs::bindings::Companion;
    py::class_<Companion>(module, "Companion")
        .def_readonly("name", &Companion::name)
        .def_readonly("dtype", &Companion::dtype)
        .def_readonly("initial", &Companion::initial)
        .def_readonly("planes", &Companion::planes)
        .def_readonly("place", &Companion::place)
        .def_readonly("draw", &Companion::draw)
        .def_property_readonly("is_signed", [](const Companion& self) { return self.format.is_signed; })
        .def_property_readonly("kind",
                               [](const Companion& self) {
                                   constexpr const char* kinds[] = {"like_param", "ring", "scalar", "scales"};
                                   return kinds[self.kind];
                               })
        .def_property_readonly("role", [](const Companion& self) {
            constexpr const char* roles[] = {"state", "scale", "average", "rest"};
            return roles[self.role];
        });

    using fs::bindings::Plan, fs::bindings::Roster;
    py::class_<Plan, std::shared_ptr<Plan>>(module, "Plan", fs::bindings::collectable<Plan>())
        .def(py::init<std::string, std::string, py::list, py::dict, uint64_t, bool>())
        .def("add", &Plan::add)
        .def("shorten", &Plan::shorten)
        .def("refresh", &Plan::refresh)
        .def("step", &Plan::step)
        .def("lend", &Plan::lend)
        .def("advance", &Plan::advance)
        .def("skip", &Plan::skip)
        .def("outcome", &Plan::outcome)
        .def_property_readonly("on_device", &Plan::on_device)
        .def("has_moved", of_roster(&Roster::has_moved))
        .def("take_changes", &Plan::take_changes)
        .def("bind", [](const std::shared_ptr<Plan>& plan, const py::object& owner, const py::object& grads,
                        const py::object& stages) { return Bound{owner, plan, plan->bind(owner, grads, stages)}; })
        .def("group_structure", of_roster(&Roster::group_structure))
        .def("structure", of_roster(&Roster::structure))
        .def("names", of_roster(&Roster::names))
        .def("arrays", of_roster(&Roster::arrays))
        .def("param", of_roster(&Roster::param))
        .def("get_step", &Plan::get_step)
        .def("set_step", &Plan::set_step)
        .def("get_extent", of_roster(&Roster::extent))
        .def("companions", of_roster(&Roster::companions))
        .def("companions_with", &Plan::companions_with)
        .def("get_number", of_roster(&Roster::number))
        .def("set_number", &Plan::set_number)
        .def("set_seed", &Plan::set_seed)
        .def("invalidate", [](Plan& plan) { ++plan.version; })
        .def("rate", &Plan::rate)
        .def("put_rates", &Plan::put_rates)
        .def("displace", &Plan::displace)
        .def_property("calls", &Plan::get_calls, &Plan::set_calls)
        .def_property("skipped", &Plan::get_skipped, &Plan::set_skipped);
    py::class_<Bound>(module, "Bound", fs::bindings::collectable<Bound>())
        .def("check", &Bound::check)
        .def("step", &Bound::step, "One step with the bound gradients, in place.");

    using fs::bindings::Function;
    py::class_<Function>(module, "Function")
        .def(py::init<std::string, std::string, py::dict, py::dict, Function::StateArguments>())
        .def("call", &Function::call);

    py::class_<Alone>(module, "Alone")
        .def(py::init<std::shared_ptr<Plan>>())
        .def("__enter__", &Alone::enter)
        .def("__exit__", &Alone::leave);

    using Readings = fs::bindings::Readings;
    py::class_<Readings>(module, "Readings")
        .def(py::init<py::object, py::object, py::object>())
        .def("arrays", &Readings::arrays)
        .def("measure", &Readings::measure);

    py::class_<fs::bindings::Given>(module, "Given");
    py::class_<fs::bindings::DeviceMemory>(module, "DeviceMemory")
        .def(py::init<int, size_t>())
        .def_property_readonly("address", &fs::bindings::DeviceMemory::address);
    module.def("connect", &fs::bindings::connect);
    module.attr("backend_name") = FUSEDSTEP_BACKEND_NAME;
    module.def("to_host", &fs::bindings::to_host);
    module.def("to_device", &fs::bindings::to_device);
    module.def("device_of", [](const py::object& object) {
        const auto array = fs::bindings::described(object, "device_of");
        const fs::Device device = array ? fs::bindings::device_of(*array) : fs::Device{};
        return py::make_tuple(device.kind == fs::Device::cuda ? "cuda" : "cpu", device.index);
    });
    module.def("device_count", [] {
        std::string why_not;
        const int count = fs::bindings::cuda_backend().device_count(why_not);
        return py::make_tuple(count, why_not);
    });
    module.def("describe", [](const py::object& object) {
        const auto array = fs::bindings::described(object, "describe");
        if (!array) throw py::type_error("describe: an array must have __dlpack__ or __cuda_array_interface__");
        return py::make_tuple(py::tuple(array->attr("shape")), py::tuple(array->attr("strides")),
                              fs::bindings::type_name_of(*array), reinterpret_cast<uintptr_t>(array->data()));
    });

    module.def("names",
               [](const std::string& optimizer, const py::object& params, const std::string& place, size_t first) {
                   std::vector<fs::bindings::Leaf> leaves;
                   fs::bindings::Structure::of(params, first, {optimizer, "params", place}, leaves);
                   std::vector<std::string> names;
                   for (const auto& leaf : leaves) names.push_back(leaf.name);
                   return names;
               });
    module.def("states", [](const std::string& method, const py::dict& options) {
        std::vector<std::string> names;
        for (const auto& state : fs::bindings::read_group(method, options).states()) names.push_back(state.name);
        return names;
    });
    module.def("methods", &fs::bindings::method_names);
    module.def("built_targets", [] { return target_names([](const fs::Target&) { return true; }); });
    module.def("available_targets",
               [] { return target_names([](const fs::Target& target) { return fs::cpu::runs(target); }); });
    module.def("active_target", [] { return fs::cpu::active_target()->name; });
    module.def("force_target", &fs::cpu::force_target);
    module.def("thread_count", &fs::cpu::thread_count);
    module.def("set_thread_count", &fs::cpu::set_thread_count);
    module.def("default_threads", [] {
        const auto& found = fs::cpu::default_threads();
        return py::make_tuple(found.count, found.source);
    });
    module.attr("most_threads") = fs::cpu::most_threads;
    module.attr("compiler") = FUSEDSTEP_COMPILER;
}
