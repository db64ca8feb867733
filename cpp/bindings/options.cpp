#include "options.hpp"

#include <initializer_list>
#include <utility>

#include "../kernel/float_mode.hpp"

namespace fusedstep::bindings {
namespace {

/// Reads options by name. One that the dict lacks, or that is None, keeps the method's own value.
class Reader {
public:
    explicit Reader(const py::dict& options) : options_(options) {}

    template <class Value>
    void operator()(const char* name, Value& value) const {
        if (const py::object given = find(name)) assign(value, given);
    }

    template <class Value>
    void operator()(const char* name, Value& first, Value& second) const {
        if (const py::object given = find(name)) {
            assign(first, given[py::int_(0)]);
            assign(second, given[py::int_(1)]);
        }
    }

    /// One of several names; a null name is a value that this method does not offer.
    template <class Choice>
    void operator()(const char* name, Choice& value, std::initializer_list<const char*> names) const {
        const py::object given = find(name);
        if (!given) return;
        const std::string chosen = given.cast<std::string>();
        int place = 0;
        for (const char* offered : names) {
            if (offered && chosen == offered) {
                value = Choice(place);
                return;
            }
            ++place;
        }
        throw py::value_error(std::string(name) + " must be one of the names that are offered, got '" + chosen + "'");
    }

private:
    py::object find(const char* name) const {
        const py::object given = options_.attr("get")(name);
        return given.is_none() ? py::object() : given;
    }

    static void assign(Power& beta, const py::object& given) { beta = Power(given.cast<double>()); }

    template <class Value>
    static void assign(Value& value, const py::object& given) {
        value = given.cast<Value>();
    }

    const py::dict& options_;
};

template <class Visit, size_t... index>
void for_every_method(Visit&& visit, std::index_sequence<index...>) {
    (visit(std::variant_alternative_t<index, Method>()), ...);
}

template <class Visit>
void for_every_method(Visit&& visit) {
    for_every_method(visit, std::make_index_sequence<std::variant_size_v<Method>>());
}

}  // namespace

Group read_group(const std::string& method, const py::dict& options) {
    const FloatMode mode;  // numbers are made of options here
    const Reader reader(options);
    Group group;
    bool found = false;
    for_every_method([&](auto candidate) {
        if (method != candidate.name) return;
        found = true;
        candidate.read(reader);
        group.method = candidate;
    });
    if (!found) throw py::value_error("there is no method named '" + method + "'");
    group.decay.read(reader);
    const py::object lr = options["lr"];
    if (!PyCallable_Check(lr.ptr())) group.lr = lr.cast<double>();
    return group;
}

py::tuple method_names() {
    py::list names;
    for_every_method([&](const auto& method) { names.append(method.name); });
    return py::tuple(names);
}

}  // namespace fusedstep::bindings
