// One rule over the chunks of a table.
#pragma once

#include <math.h>

#include <utility>

#include "row.hpp"
#include "table.hpp"

// Code for every type, once for an array and not once for each of a row's arrays: a sixth of it to compile and to run.
#ifdef __CUDACC__
#define ONE_BY_ONE _Pragma("unroll 1")
#else
#define ONE_BY_ONE
#endif

namespace fusedstep::cuda {

/// Which part of the work a team does: every so many-th chunk, and of a chunk every so many-th row.
struct Part {
    int64_t chunk, chunks;
    int row, rows;
};

template <class Rule>
constexpr bool has_window = false;
template <class Phi, class Real>
constexpr bool has_window<Adaptive<Phi, Window<Real>>> = true;

template <class Team, class Rule, class Real>
struct Updater {
    static constexpr int states = Rule::states;
    using Own = Rows<Team, Real>;
    static constexpr int held = Own::held;

    const Task& task;
    const Turn& turn;
    Team team;
    In<Rule, Real> rule = rule_of<Rule, Real>(turn.update.numbers);
    bool coupled = turn.border.coupled != 0;
    Real decay = Real(coupled ? turn.border.coupled : turn.border.shrink);
    /// Behind its other states a window sees two planes of its ring: the one that it writes, and the one after it,
    /// which stays as it is.
    static constexpr bool windowed = has_window<Rule>;
    static constexpr int own_states = windowed ? states - 2 : states, written_states = windowed ? states - 1 : states;

    RULE Updater(const Task& task, const Turn& turn, Team team) : task(task), turn(turn), team(team) {}

    RULE void* plane(int64_t slot) const {
        return static_cast<Real*>(task.ring.data) + slot % task.ring.planes * task.ring.stride;
    }
    RULE void* state(int i) const {
        return i < own_states ? task.buffers.state[i] : plane(turn.update.slot + i - own_states);
    }

    /// Parameter, gradient and states of a row, in this order.
    struct Row {
        Own array[2 + states];
    };

    template <size_t... i>
    RULE void step(Row& row, Real sign, std::index_sequence<i...>) const {
        for (int j = 0; j < held; ++j) {
            Real g = sign * row.array[1].x[j], p = row.array[0].x[j];
            if (coupled)
                g = g + decay * p;
            else
                p = decay * p;
            rule(p, g, row.array[2 + i].x[j]...);
            row.array[0].x[j] = p;
        }
    }
    RULE void step(Row& row, Real sign) const { step(row, sign, std::make_index_sequence<states>()); }

    /// Whether this step closes a round, and what that does to the ring.
    RULE bool closes() const { return windowed && turn.update.slot + 1 == turn.update.window; }
    RULE void fold(const Place& place) const {
        for (int64_t number = task.ring.planes - 2; number >= 1; --number) {
            Own earlier, later;
            earlier.load(plane(number), place);
            later.load(plane(number + 1), place);
            for (int j = 0; j < held; ++j) Window<Real>::fold(earlier.x[j], later.x[j]);
            earlier.store(plane(number), place);
        }
    }

    /// Where the arrays of a tensor begin that are all of the rule's type: found once, as what a kernel writes might be
    /// where it has read this.
    struct Bare {
        Real* array[2 + states];
        Real sign;
        bool folds;
    };
    RULE Bare bare() const {
        Bare here;
        here.array[0] = static_cast<Real*>(task.buffers.param);
        here.array[1] = static_cast<Real*>(const_cast<void*>(task.buffers.grad));
        for (int i = 0; i < states; ++i) here.array[2 + i] = static_cast<Real*>(state(i));
        here.sign = Real(turn.border.sign * turn.factor);
        here.folds = closes();
        return here;
    }

    /// Rows that a team takes at a time: so many that enough is on its way from memory (48 KiB for each
    /// multiprocessor).
    static constexpr int together = (2 + states) * sizeof(Real) <= 12 ? 2 : 1;

    RULE void bare(const Bare& here, const Place (&places)[together]) const {
        Row rows[together];
        for (int n = 0; n < together; ++n)
            for (int i = 0; i < 2 + states; ++i) rows[n].array[i].load(here.array[i], places[n]);
        for (int n = 0; n < together; ++n) step(rows[n], here.sign);
        for (int n = 0; n < together; ++n) {
            rows[n].array[0].store(here.array[0], places[n]);
            for (int i = 0; i < written_states; ++i) rows[n].array[2 + i].store(here.array[2 + i], places[n]);
            if (here.folds) fold(places[n]);
        }
    }

    RULE void bare(const Bare& here, const Place& place) const {
        Row row;
        for (int i = 0; i < 2 + states; ++i) row.array[i].load(here.array[i], place);
        step(row, here.sign);
        row.array[0].store(here.array[0], place);
        for (int i = 0; i < written_states; ++i) row.array[2 + i].store(here.array[2 + i], place);
        if (here.folds) fold(place);
    }

    /// The arrays of a row by their number.
    RULE void* array(int i) const {
        return i == 0 ? task.buffers.param : i == 1 ? const_cast<void*>(task.buffers.grad) : state(i - 2);
    }
    RULE const Format& format(int i) const {
        return i == 0 ? task.cargo.param : i == 1 ? task.cargo.grad : task.cargo.state[i - 2];
    }

    /// What the random bits of each array have in common.
    struct Keys {
        uint32_t array[2 + states];
    };
    RULE void find(Keys& keys, int64_t at) const {
        const Cargo& cargo = task.cargo;
        ONE_BY_ONE
        for (int i = 0; i < 2 + states; ++i)
            keys.array[i] = format(i).rounding == Rounding::stochastic
                                ? random_key(cargo.seed, uint64_t(turn.step), cargo.tensor, uint64_t(format(i).draw),
                                             uint64_t(task.offset + at) >> 32)
                                : 0;
    }

    /// What becomes of gradients before the rule sees them; the sign for it.
    RULE double touch(Own& grad) const {
        const Cargo& cargo = task.cargo;
        const bool clips = cargo.clip_value < HUGE_VAL;
        if (!clips && !cargo.flush_denormals) return turn.border.sign * turn.factor;
        for (int j = 0; j < held; ++j) {
            grad.x[j] = Real(turn.factor) * grad.x[j];
            if (clips) grad.x[j] = clipped(grad.x[j], Real(cargo.clip_value));
            if (cargo.flush_denormals) grad.x[j] = flushed(grad.x[j]);
        }
        return turn.border.sign;
    }

    /// Any types, and everything that a step can carry along.
    RULE void full(const Place& place, const Keys& keys) const {
        const Cargo& cargo = task.cargo;
        Row row;
        ONE_BY_ONE
        for (int i = 0; i < 2 + states; ++i) row.array[i].load(array(i), format(i), place);
        step(row, Real(touch(row.array[1])));
        ONE_BY_ONE
        for (int i = 0; i < 2 + written_states; ++i) {
            if (i == 1) continue;
            if (cargo.flush_denormals && i >= 2 && i < 2 + own_states)
                for (int j = 0; j < held; ++j) row.array[i].x[j] = flushed(row.array[i].x[j]);
            row.array[i].store(array(i), format(i), place, keys.array[i], team);
        }
        if (closes()) fold(place);
        if (cargo.average || cargo.copy) carry(row.array[0], place);
        if (cargo.zero) Own::zero(cargo.zero, cargo.grad.type, place);
    }

    /// What follows the parameter as it is stored.
    RULE void carry(Own& param, const Place& place) const {
        const Cargo& cargo = task.cargo;
        param.load(task.buffers.param, cargo.param, place);
        if (cargo.average) {
            const Averaging<Real> averaged(cargo.average_decay);
            Own average;
            average.load(cargo.average, place);
            for (int j = 0; j < held; ++j) average.x[j] = averaged(average.x[j], param.x[j]);
            average.store(cargo.average, place);
        }
        if (cargo.copy) param.store(cargo.copy, Format{cargo.copy_type}, place, 0, team);
    }
};

/// Steps the tasks of a table that take this rule in this type; `bare` ones, or the others.
template <class Team, class Rule, class Real, bool bare>
RULE void update(const Table& table, const Part& part, Team team) {
    constexpr Type type = sizeof(Real) == sizeof(double) ? Type::float64 : Type::float32;
    constexpr int held = row / Team::lanes;
    for (int64_t i = part.chunk; i < table.chunk_count; i += part.chunks) {
        const Chunk chunk = table.chunks[i];
        const Task& task = table.tasks[chunk.task];
        const Turn& turn = table.turns[chunk.task];
        if (turn.update.rule != Rules::place<Rule> || task.type != type || task.bare != bare) continue;
        const Updater<Team, Rule, Real> updater(task, turn, team);
        const int64_t begin = task.begin(chunk.number), end = task.end(chunk.number), offset = task.offset;
        const int64_t stride = part.rows * row, first = begin + part.row * row;
        const bool aligned = task.aligned;
        const auto place = [&](int64_t from) {
            const int64_t at = from + team.lane() * held, left = end - at;
            const int count = left < 0 ? 0 : left < held ? int(left) : held;
            return Place{at, uint32_t(offset + at), count, aligned && count == held};
        };
        if constexpr (bare) {
            const auto here = updater.bare();
            int64_t from = first;
            // Whole rows, of which all lanes know that
            const auto all = [&](int64_t from) {
                const int64_t at = from + team.lane() * held;
                return Place{at, uint32_t(offset + at), held, true};
            };
            if constexpr (updater.together == 2)
                for (; aligned && from + stride + row <= end; from += 2 * stride)
                    updater.bare(here, {all(from), all(from + stride)});
            for (; aligned && from + row <= end; from += stride) updater.bare(here, all(from));
            for (; from < end; from += stride) {
                Place left = place(from);
                left.aligned = false;
                updater.bare(here, left);
            }
        } else {
            typename Updater<Team, Rule, Real>::Keys keys;
            updater.find(keys, begin);
            for (int64_t from = first; from < end; from += stride) updater.full(place(from), keys);
        }
    }
}

}  // namespace fusedstep::cuda
