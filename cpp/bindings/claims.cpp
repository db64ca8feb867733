// The memory that steps write to, and what its arrays are called in messages.
#include "plan.hpp"

namespace fusedstep::bindings {

/// A state in messages, argument and path: an entry of one argument, or of the function's argument for this state.
std::pair<std::string, std::string> Plan::called(std::string_view states, const Entry& entry,
                                                 const std::string& state) const {
    if (of_function_) return {state, entry.path};
    return {std::string(states), "['" + entry.name + "']['" + state + "']"};
}

/// Adds the memory that a step of a tensor writes to: the parameter, which is number 0, and the states.
void Plan::claim(std::vector<Span>& claims, const Entry& entry, size_t tensor) {
    claims.emplace_back(entry.param.data(), entry.param.nbytes(), tensor, 0);
    for (size_t i = 0; i < entry.states.size(); ++i) {
        const py::array& array = entry.states[i].second;
        claims.emplace_back(array.data(), array.nbytes(), tensor, i + 1);
    }
}

/// What such memory is called
std::string Plan::called(const Entry& entry, std::string_view place, size_t array) const {
    if (array == 0) return Where{optimizer_, params_, place, entry.path}.name();
    const auto [argument, path] = called(state_, entry, entry.states[array - 1].first.name);
    return Where{optimizer_, argument, {}, path}.name();
}

Names Plan::array_names() const {
    return [this](const Span& span) {
        return called(entries_[span.tensor], place_of(size_t(plan_.tensors[span.tensor].group)), span.array);
    };
}

/// The same, where parameters of a group are being added, which count behind the others: those have the place of their
/// group, even if it is the only one, as what is added may have the same name in an argument of its own.
Names Plan::array_names(const std::vector<Entry>& added, std::string_view place) const {
    return [this, &added, place](const Span& span) {
        const size_t before = entries_.size();
        if (span.tensor >= before) return called(added[span.tensor - before], place, span.array);
        return called(entries_[span.tensor], options_[size_t(plan_.tensors[span.tensor].group)].place, span.array);
    };
}

/// Finds out anew which memory is written to, and forgets what was known of gradients.
void Plan::survey() {
    std::vector<Span> all;
    for (size_t i = 0; i < entries_.size(); ++i) {
        claim(all, entries_[i], i);
        entries_[i].last_grad = nullptr;
    }
    Territory territory;
    territory.claim(std::move(all), optimizer_, array_names());
    territory_ = std::move(territory);
}

}  // namespace fusedstep::bindings
