// The numbers of a step, computed on the device: it alone knows how many steps were skipped or replayed. Groups know
// nothing of each other.
#pragma once

#include "../storage/random.hpp"
#include "table.hpp"

namespace fusedstep::cuda {

/// What holds for a group's steps until it is changed.
template <class Method>
struct Options {
    Method method;
    Decay decay;
};

/// What becomes of a step.
struct Decision {
    bool pending;     ///< the device decides that, and the table knows
    Outcome outcome;  ///< otherwise
};

/// The numbers of a group's tasks in a step.
template <class Method>
struct Preparation {
    const Table& table;
    const Members& members;
    const Decision& decision;
    const Options<Method>& options =
        *reinterpret_cast<const Options<Method>*>(table.options + members.options);  // they are of this method

    FS_RULE Turn turn_at(int64_t step, double carry) const {
        const double lr = table.rates[members.group];
        Turn turn;
        turn.step = step;
        turn.update = options.method.at(Clock{step, lr, carry});
        turn.border = options.decay.at(lr, turn.update.moves);
        return turn;
    }

    FS_RULE double carry_of(int task) const {
        const double* const carry = table.tasks[task].carry;
        return carry ? *carry : 1;
    }

    /// Counts the step, which one group does for all.
    FS_RULE void count() const {
        Progress& progress = *table.progress;
        if (!decision.pending) progress.last = decision.outcome;
        ++(progress.last.skipped ? progress.skipped : progress.calls);
    }

    /// The numbers of the group's first task, which most others share.
    FS_RULE Turn lead() const {
        return turn_at(table.steps[table.tasks[members.begin].tensor] + 1, carry_of(members.begin));
    }

    /// The turn of a task; `leader` is what lead() found, with the carried scalar that it found it for.
    FS_RULE void follow(int task, const Turn& leader, double carried) const {
        const Task& own = table.tasks[task];
        Turn& turn = table.turns[task];
        if (decision.pending && table.progress->last.skipped) {
            turn.update.rule = Turn::none;
            return;
        }
        const int64_t step = ++table.steps[own.tensor];
        const double carry = carry_of(task), factor = decision.pending ? turn.factor : decision.outcome.factor;
        turn = step == leader.step && carry == carried ? leader : turn_at(step, carry);
        turn.factor = factor;
        turn.root = random_root(own.cargo.seed, uint64_t(step), own.cargo.tensor);
        if (own.carry) *own.carry = turn.update.carry;
    }
};

}  // namespace fusedstep::cuda
