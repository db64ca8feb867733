// The numbers of a step, computed on the device: it alone knows how many steps were skipped or replayed.
#pragma once

#include "../storage/random.hpp"
#include "table.hpp"

namespace fusedstep::cuda {

/// What the tasks of one group have in common in a step.
template <class Method>
struct Preparation {
    Method method;
    Decay decay;
    int begin, end;   ///< tasks
    bool first;       ///< of the step's groups
    bool settled;     ///< the table knows the outcome already
    Outcome outcome;  ///< otherwise
};

template <class Method>
RULE Turn turn_at(const Table& table, const Preparation<Method>& group, int64_t step, double carry) {
    const double lr = table.rates[table.tasks[group.begin].group];
    Turn turn;
    turn.step = step;
    turn.update = group.method.at(Clock{step, lr, carry});
    turn.border = group.decay.at(lr, turn.update.moves);
    return turn;
}

RULE double carry_of(const Task& task) { return task.carry ? *task.carry : 1; }

/// Counts the step, and returns the numbers of the group's first task, which most others share.
template <class Method>
RULE Turn lead(const Table& table, const Preparation<Method>& group) {
    Progress& progress = *table.progress;
    if (group.first) {
        if (!group.settled) progress.last = group.outcome;
        ++(progress.last.skipped ? progress.skipped : progress.calls);
    }
    const Task& task = table.tasks[group.begin];
    return turn_at(table, group, table.steps[task.tensor] + 1, carry_of(task));
}

/// The turn of a task; `leader` is what lead() found, with the carried scalar that it found it for.
template <class Method>
RULE void follow(const Table& table, const Preparation<Method>& group, int task, const Turn& leader, double carried) {
    const Task& own = table.tasks[task];
    Turn& turn = table.turns[task];
    if (table.progress->last.skipped) {
        turn.update.rule = Turn::none;
        return;
    }
    const int64_t step = ++table.steps[own.tensor];
    const double carry = carry_of(own), factor = group.settled ? turn.factor : group.outcome.factor;
    turn = step == leader.step && carry == carried ? leader : turn_at(table, group, step, carry);
    turn.factor = factor;
    turn.root = random_root(own.cargo.seed, uint64_t(step), own.cargo.tensor);
    if (own.carry) *own.carry = turn.update.carry;
}

}  // namespace fusedstep::cuda
