// The memory that steps write to, and what its arrays are called in messages.
#include <algorithm>

#include "roster.hpp"

namespace fusedstep::bindings {

/// Adds the memory that a step of a tensor writes to: the parameter, which is number 0, and the states.
void Roster::claim(std::vector<Span>& claims, const Entry& entry, size_t tensor) {
    claims.emplace_back(entry.param.data(), entry.param.nbytes(), tensor, 0);
    for (size_t i = 0; i < entry.states.size(); ++i) {
        const py::array& array = entry.states[i].second;
        claims.emplace_back(array.data(), array.nbytes(), tensor, i + 1);
    }
}

/// Finds out anew which memory is written to, and forgets what was known of gradients.
void Roster::survey() {
    std::vector<Span> all;
    for (size_t i = 0; i < entries_.size(); ++i) {
        claim(all, entries_[i], i);
        entries_[i].last_grad = nullptr;
    }
    Territory territory;
    territory.claim(std::move(all), optimizer, array_names());
    territory_ = std::move(territory);
}

void Roster::check_place(size_t tensor) const {
    const Entry& entry = entries_[tensor];
    for (const auto& [number, movable] : entry.movable)
        if (movable.has_moved())
            refuse_move(optimizer + ": " + called(entry, place_of(size_t(plan.tensors[tensor].group)), number));
}

bool Roster::has_moved() const {
    return std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
        return std::any_of(entry.movable.begin(), entry.movable.end(),
                           [](const auto& one) { return one.second.has_moved(); });
    });
}

std::string_view Roster::place_of(size_t group) const {
    return sections_.size() == 1 && !entry_per_group_ ? std::string_view() : sections_[group].place;
}

Where Roster::where(std::string_view argument, size_t tensor) const {
    return {optimizer, argument, place_of(size_t(plan.tensors[tensor].group)), entries_[tensor].path};
}

/// A state in messages, argument and path: an entry of one argument, or of the function's argument for this state.
std::pair<std::string, std::string> Roster::called(std::string_view states, const Entry& entry,
                                                   const std::string& state) const {
    if (of_function_) return {state, entry.path};
    return {std::string(states), "['" + entry.name + "']['" + state + "']"};
}

/// What memory is called that a step writes to.
std::string Roster::called(const Entry& entry, std::string_view place, size_t array) const {
    if (array == 0) return Where{optimizer, params, place, entry.path}.name();
    const auto [argument, path] = called("state", entry, entry.states[array - 1].first.name);
    return Where{optimizer, argument, {}, path}.name();
}

Names Roster::array_names() const {
    return [this](const Span& span) {
        return called(entries_[span.tensor], place_of(size_t(plan.tensors[span.tensor].group)), span.array);
    };
}

/// The same, where parameters of a group are being added, which count behind the others: those have the place of their
/// group, even if it is the only one, as what is added may have the same name in an argument of its own.
Names Roster::array_names(const std::vector<Entry>& added, std::string_view place) const {
    return [this, &added, place](const Span& span) {
        const size_t before = entries_.size();
        if (span.tensor >= before) return called(added[span.tensor - before], place, span.array);
        return called(entries_[span.tensor], sections_[size_t(plan.tensors[span.tensor].group)].place, span.array);
    };
}

}  // namespace fusedstep::bindings
