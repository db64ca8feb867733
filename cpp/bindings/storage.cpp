#include "storage.hpp"

#include "../storage/code8.hpp"

namespace fusedstep::bindings {
namespace {

const std::string codes = "sq8";

Type type_named(const std::string& name) {
    for (const Type type : {Type::float32, Type::float64, Type::float16, Type::bfloat16})
        if (name == name_of(type)) return type;
    return Type::code8;
}

/// Fewer bits than the rule calculates in.
bool narrower(Type type, Type real) { return size_of(type) < size_of(real); }

}  // namespace

Storage::Storage(const py::dict& chosen) : flush_denormals(chosen["flush_denormals"].cast<bool>()) {
    for (const auto& [name, type] : py::dict(chosen["state"]))
        state[name.cast<std::string>()] = type.cast<std::string>();
    const auto called = chosen["rounding"].cast<std::string>();
    if (called == "stochastic") rounding = Rounding::stochastic;
    if (called == "kahan") rounding = Rounding::kahan;
    if (called == "remainder") rounding = Rounding::remainder;
    const py::object decay = chosen["weight_average"];
    if (!decay.is_none()) average_decay = decay.cast<double>();
}

std::string Storage::type_for(const State& one, const Layout& param, const Extent& extent) const {
    const std::string own = name_of(arithmetic(param.type));
    if (one.kind == State::scalar) return "float64";
    if (one.kind == State::ring) return own;
    auto chosen = state.find(one.name);
    if (chosen == state.end()) chosen = state.find("");
    if (chosen == state.end() || (chosen->second == codes && extent.whole < worth_a_code)) return own;
    return chosen->second;
}

Format Storage::format_of_param(const Layout& param) const {
    Format format{param.type};
    if (narrower(param.type, arithmetic(param.type))) format.rounding = rounding;
    return format;
}

std::vector<Companion> Storage::companions(const States& states, const Layout& param, const Extent& extent) const {
    const Type real = arithmetic(param.type);
    const Format own = format_of_param(param);
    std::vector<Companion> made;
    int draws = own.rounding == Rounding::stochastic;
    const auto add = [&](Companion one) {
        one.place = int(made.size());
        made.push_back(std::move(one));
    };
    for (const State& one : states) {
        Companion array{one.name,    Companion::state, Companion::Kind(one.kind), type_for(one, param, extent),
                        one.initial, one.planes};
        Format& format = array.format;
        format.type = type_named(array.dtype);
        format.is_signed = one.is_signed;
        if (one.slow && narrower(format.type, real)) {
            format.rounding = Rounding::stochastic;
            array.draw = format.draw = draws++;
        }
        const bool coded = format.type == Type::code8;
        if (coded) array.dtype = one.is_signed ? "int8" : "uint8";
        add(array);
        if (coded) {
            const int64_t blocks = (param.size + Code8::block - 1) / Code8::block;
            add({one.name + "_scale", Companion::scale_of_state, Companion::scales, "float32", 0, blocks});
        }
    }
    if (own.split())
        add({"rest", Companion::rest, Companion::like_param,
             own.rounding == Rounding::kahan ? name_of(param.type) : "int16"});
    if (average_decay) add({"average", Companion::average, Companion::like_param, name_of(real)});
    return made;
}

}  // namespace fusedstep::bindings
