// One rule over the chunks of a table.
#pragma once

#include <math.h>

#include <type_traits>
#include <utility>

#include "quick.hpp"
#include "row.hpp"
#include "table.hpp"

// Code for every type, once for an array and not once for each of a row's arrays: a sixth of it to compile and to run.
#ifdef __CUDACC__
#define ONE_BY_ONE _Pragma("unroll 1")
#else
#define ONE_BY_ONE
#endif

namespace fusedstep::cuda {

/// Which part of the work a team does: every so many-th chunk, or run of chunks, and of that every so many-th row.
struct Part {
    int64_t chunk, chunks;
    int row, rows;
};

/// std::integral_constant's conversion is not for GPUs.
template <int value>
struct Constant {
    FS_RULE constexpr operator int() const { return value; }
};
/// Calls work(0), work(1), … with constants.
template <int count, class Work>
FS_RULE void each(const Work& work) {
    [&]<int... i>(std::integer_sequence<int, i...>) {
        (work(Constant<i>()), ...);
    }(std::make_integer_sequence<int, count>());
}

/// Whether tensors of this rule can come this way. Rings are of no other type, nor are they codes, which only states
/// are.
template <class Rule>
FS_RULE constexpr bool is_taken(Path path) {
    if (path == Path::codes && Rule::states == 0) return false;
    return !has_window<Rule> || path == Path::bare || path == Path::full;
}

/// What a path meets in an array of a row: the parameter is 0, the gradient 1, states follow.
template <class Rule, class Real>
FS_RULE constexpr Kinds kinds_of(Path path, int array) {
    const Kinds either = Kinds::only(Type::float32) | Kinds::only(Type::bfloat16);
    const auto of_state = [=](Kinds kinds) {
        kinds.sign = {true, bool(Rule::signs >> (array - 2) & 1)};
        kinds.chance = {true, bool(Rule::slow >> (array - 2) & 1)};
        return kinds;
    };
    switch (path) {
        case Path::bare: return Kinds::only(sizeof(Real) == sizeof(double) ? Type::float64 : Type::float32);
        case Path::halves: return array < 2 ? Kinds::only(Type::bfloat16) : of_state(Kinds::only(Type::bfloat16));
        case Path::mixed: return array < 2 ? either : of_state(either);
        case Path::codes: {
            Kinds kinds = array < 2 ? either : of_state(Kinds::only(Type::code8));
            kinds.near = true;
            return kinds;
        }
        default: return array == 0 ? Kinds::numbers() : array == 1 ? Kinds::plain() : every_kind;
    }
}

/// Whether a row is first tried in numbers without a look at each (cuda/quick.hpp).
FS_RULE constexpr bool is_quick(Path path) { return path == Path::halves || path == Path::codes; }

/// Threads to a row. What has to be found out about a row, each of sixteen does for eight elements.
FS_RULE constexpr int lanes_of(Path path) { return is_quick(path) ? 16 : 32; }

/// Rows that a team takes at a time: so many that enough is on its way from memory (48 KiB for each multiprocessor).
template <Path path, class Real, int arrays>
constexpr int together =
    !is_quick(path) && arrays * (path == Path::mixed ? sizeof(uint16_t) : sizeof(Real)) <= 12 ? 2 : 1;

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
    static constexpr bool windowed = has_window<Rule>;
    static constexpr int own_states = windowed ? states - 2 : states;

    FS_RULE Updater(const Task& task, const Turn& turn, Team team) : task(task), turn(turn), team(team) {}

    FS_RULE void* plane(int64_t slot) const {
        return static_cast<Real*>(task.ring.data) + slot % task.ring.planes * task.ring.stride;
    }
    FS_RULE void* state(int i) const {
        return i < own_states ? task.buffers.state[i] : plane(turn.update.slot + i - own_states);
    }

    /// Parameter, gradient and states of a row, in this order.
    struct Row {
        Own array[2 + states];
    };

    template <class Number>
    FS_RULE In<Rule, Number> rule_in() const {
        if constexpr (std::is_same_v<Number, Real>) {
            return rule;
        } else {
            Real numbers[sizeof(rule) / sizeof(Real)];
            memcpy(numbers, &rule, sizeof(rule));
            return rule_of<Rule, Number>(numbers);
        }
    }

    /// The rule's step of one element. How odd its numbers are.
    template <class... State>
    FS_RULE static uint32_t apply(const In<Rule, Real>& rule, Real& param, Real grad, State&... state) {
        rule(param, grad, state...);
        return 0;
    }
    template <class... State>
    FS_RULE static uint32_t apply(const In<Rule, Quick>& rule, Real& param, Real grad, State&... state) {
        const auto quick = [&](Quick own_param, auto... own) {
            rule(own_param, Quick(grad), own...);
            param = own_param.value;
            ((state = own.value), ...);
            uint32_t odd = own_param.odd;
            ((odd = Quick::worse(odd, own.odd)), ...);
            return odd;
        };
        return quick(param, Quick(state)...);
    }

    /// How odd the row is in numbers of this kind.
    template <class Number, size_t... i>
    FS_RULE uint32_t step(Row& row, Real sign, std::index_sequence<i...>) const {
        Real *const p = row.array[0].x, *const g = row.array[1].x;
        for (int j = 0; j < held; ++j) g[j] = sign * g[j];
        // Outside of the rule, of which there would be two else
        if (coupled)
            for (int j = 0; j < held; ++j) apply_decay<true>(p[j], g[j], decay);
        else
            for (int j = 0; j < held; ++j) apply_decay<false>(p[j], g[j], decay);
        uint32_t odd = 0;
        const auto own = rule_in<Number>();
        for (int j = 0; j < held; ++j) odd = Quick::worse(odd, apply(own, p[j], g[j], row.array[2 + i].x[j]...));
        return odd;
    }
    template <class Number>
    FS_RULE uint32_t step(Row& row, Real sign) const {
        return step<Number>(row, sign, std::make_index_sequence<states>());
    }

    /// Whether this step closes a round, and what that does to the ring.
    FS_RULE bool closes() const { return windowed && turn.update.slot + 1 == turn.update.window; }
    FS_RULE void fold(const Place& place, int64_t begin) const {
        const auto stretch = [&](int64_t number) { return static_cast<Real*>(plane(number)) + begin; };
        for (int64_t number = task.ring.planes - 2; number >= 1; --number) {
            Own earlier, later;
            earlier.load(stretch(number), place);
            later.load(stretch(number + 1), place);
            for (int j = 0; j < held; ++j) Window<Real>::fold(earlier.x[j], later.x[j]);
            earlier.store(stretch(number), place);
        }
    }

    /// The arrays of a row by their number.
    FS_RULE void* data(int i) const {
        return i == 0 ? task.buffers.param : i == 1 ? const_cast<void*>(task.buffers.grad) : state(i - 2);
    }
    FS_RULE const Format& format(int i) const {
        return i == 0 ? task.cargo.param : i == 1 ? task.cargo.grad : task.cargo.state[i - 2];
    }
    FS_RULE uint32_t key(int i, int64_t at) const {
        if (format(i).rounding != Rounding::stochastic) return 0;
        return random_key(turn.root, uint64_t(format(i).draw), uint64_t(task.offset + at) >> 32);
    }

    /// The arrays of a tensor of few kinds from `begin` on, for a stretch that begins `at`: found once, as what a
    /// kernel writes might be where it has read this.
    struct Arrays {
        Array array[2 + states];
        int64_t begin;
        Real sign;
        bool folds;
    };
    template <Path path>
    FS_RULE Arrays arrays(int64_t begin, int64_t at) const {
        Arrays here;
        here.begin = begin;
        each<2 + states>([&](auto i) {
            here.array[i] = {Team::in_device_memory(data(i)), format(i), key(i, at)};
            here.array[i].format.rest = Team::in_device_memory(format(i).rest);
            if constexpr (is_quick(path)) {
                const auto behind = [](void* array, int64_t bytes) {
                    return Team::kept(static_cast<char*>(array) + bytes);
                };
                Array& own = here.array[i];
                own.data = behind(own.data, begin * Own::template bytes_of<kinds_of<Rule, Real>(path, i)>(own.format));
                own.format.rest = behind(own.format.rest, begin / row * int64_t(sizeof(float)));  // of codes
            }
        });
        here.sign = Real(turn.border.sign * turn.factor);
        here.folds = closes();
        return here;
    }

    template <Path path>
    FS_RULE void ask(const Arrays& here, const Place& place) const {
        each<2 + states>([&](auto i) { Own::template ask<kinds_of<Rule, Real>(path, i)>(here.array[i], place, team); });
    }

    /// Whether the rows are done: they are not where one is odd in numbers of this kind.
    template <Path path, class Number, int rows>
    FS_RULE bool few(const Arrays& here, const Place (&places)[rows]) const {
        constexpr bool quick = std::is_same_v<Number, Quick>;
        Row row[rows];
        bool plain = true;
        {
            // Everything is on its way before the first is waited for.
            typename Own::Raw raw[rows][2 + states];
            each<rows>([&](auto n) {
                each<2 + states>([&](auto i) {
                    raw[n][i] = Own::template look<kinds_of<Rule, Real>(path, i)>(here.array[i], places[n]);
                });
            });
            each<rows>([&](auto n) {
                each<2 + states>([&](auto i) {
                    plain &= row[n].array[i].template take<kinds_of<Rule, Real>(path, i), quick>(
                        raw[n][i], here.array[i], places[n]);
                });
            });
        }
        uint32_t odd = 0, size[rows][2 + states] = {};
        each<rows>([&](auto n) { odd = Quick::worse(odd, step<Number>(row[n], here.sign)); });
        if constexpr (quick) {
            each<rows>([&](auto n) {
                each<2 + written_states<Rule>>([&](auto i) {
                    if constexpr (i != 1)
                        plain &= row[n].array[i].template is_plain<kinds_of<Rule, Real>(path, i)>(here.array[i], team,
                                                                                                  size[n][i]);
                });
            });
            if (team.any(odd > Quick::most || !plain)) return false;
        }
        each<rows>([&](auto n) {
            each<2 + written_states<Rule>>([&](auto i) {
                if constexpr (i != 1)
                    row[n].array[i].template store<kinds_of<Rule, Real>(path, i), quick>(here.array[i], places[n], team,
                                                                                         size[n][i]);
            });
            if (here.folds) fold(places[n], here.begin);
        });
        return true;
    }

    /// What becomes of gradients before the rule sees them; the sign for it.
    FS_RULE double touch(Own& grad) const {
        const Cargo& cargo = task.cargo;
        if (!cargo.touches()) return turn.border.sign * turn.factor;
        const Touch<Real> touched(turn.factor, cargo.clip_value, cargo.flush_denormals);
        for (int j = 0; j < held; ++j) grad.x[j] = touched(grad.x[j]);
        return turn.border.sign;
    }

    /// What the random bits of each array have in common.
    struct Keys {
        uint32_t array[2 + states];
    };
    FS_RULE Keys keys(int64_t at) const {
        Keys keys;
        each<2 + states>([&](auto i) { keys.array[i] = key(i, at); });
        return keys;
    }

    /// Any kinds, and everything that a step can carry along.
    FS_RULE void full(const Place& place, const Keys& keys) const {
        const Cargo& cargo = task.cargo;
        const auto array = [&](int i) { return Array{data(i), format(i), keys.array[i]}; };
        Row row;
        {
            typename Own::Raw raw[2 + states];
            if (place.whole) {
                typename Own::Raw at_once[2 + states];
                each<2 + states>([&](auto i) {
                    at_once[i] = Own::template look<kinds_of<Rule, Real>(Path::full, i)>(array(i), place);
                });
                each<2 + states>([&](auto i) { raw[i] = at_once[i]; });
            } else {
                ONE_BY_ONE
                for (int i = 0; i < 2 + states; ++i) raw[i] = Own::template look<every_kind>(array(i), place);
            }
            ONE_BY_ONE
            for (int i = 0; i < 2 + states; ++i) row.array[i].template take<every_kind>(raw[i], array(i), place);
        }
        step<Real>(row, Real(touch(row.array[1])));
        // The parameter as it is stored follows it, in the gradient's room.
        const auto written = [&](int i) { return i == 1 ? Array{cargo.copy, {cargo.copy_type}} : array(i); };
        ONE_BY_ONE
        for (int i = 0; i < 2 + written_states<Rule>; ++i) {
            if (i == 1) {
                if (cargo.average || cargo.copy) row.array[1].template load<Kinds::numbers()>(array(0), place);
                if (cargo.average) average(row.array[1], place);
                if (!cargo.copy) continue;
            }
            if (cargo.flush_denormals && i >= 2 && i < 2 + own_states)
                for (int j = 0; j < held; ++j) row.array[i].x[j] = flushed(row.array[i].x[j]);
            row.array[i].template store<every_kind>(written(i), place, team);
        }
        if (closes()) fold(place, 0);
        if (cargo.zero) Own::zero(cargo.zero, cargo.grad.type, place);
    }

    FS_RULE void average(const Own& param, const Place& place) const {
        const Averaging<Real> averaged(task.cargo.average_decay);
        Own average;
        average.load(task.cargo.average, place);
        for (int j = 0; j < held; ++j) average.x[j] = averaged(average.x[j], param.x[j]);
        average.store(task.cargo.average, place);
    }
};

/// Steps a stretch of a task, whose elements' numbers have one upper half.
template <class Team, class Rule, class Real, Path path>
FS_RULE void update(const Task& task, const Turn& turn, int64_t begin, int64_t end, const Part& part, Team team) {
    using Own = Updater<Team, Rule, Real>;
    const Own updater(task, turn, team);
    const int64_t offset = task.offset;
    const int stride = part.rows * row;
    const bool aligned = task.aligned;
    // All threads of a team go through its rows together.
    const auto place_of = [&](auto from, auto size, int64_t offset) {
        return place_in(from + team.row() * row, size, offset, aligned, team);
    };
    if constexpr (path == Path::full) {
        const auto keys = updater.keys(begin);
        for (int64_t from = begin + part.row * row; from < end; from += stride)
            updater.full(place_of(from, end, offset), keys);
    } else {
        // Either numbers of 64 bits, or near the stretch's own beginning
        using Index = std::conditional_t<is_quick(path), uint32_t, int64_t>;
        const int64_t first = is_quick(path) ? begin : 0;
        const auto here = updater.template arrays<path>(first, begin);
        const auto size = Index(end - first);
        auto from = Index(begin - first + part.row * row);
        const auto place = [&](Index from) { return place_of(from, size, offset + first); };
        const auto all = [&](Index from) {
            const Place here = place(from);
            return Place{here.at, here.number, row, true};
        };
        constexpr int side = Team::rows * row;
        const auto fits = [&](int rows) { return aligned && from + (rows - 1) * stride + side <= size; };
        if constexpr (is_quick(path)) {
            const auto quick = [&] {
                // Of codes there are too few rows at a time for enough to be on its way from memory.
                if constexpr (path == Path::codes)
                    if (fits(2)) updater.template ask<path>(here, all(from + stride));
                return updater.template few<path, Quick, 1>(here, {all(from)});
            };
            while (from < size) {
                while (fits(1) && quick()) from += stride;
                if (from < size) updater.template few<path, Real, 1>(here, {place(from)});
                from += stride;
            }
        } else {
            constexpr int rows = together<path, Real, 2 + Own::states>;
            if constexpr (rows == 2)
                for (; fits(2); from += 2 * stride)
                    updater.template few<path, Real, 2>(here, {all(from), all(from + stride)});
            else
                for (; fits(1); from += stride) updater.template few<path, Real, 1>(here, {all(from)});
            for (; from < size; from += stride) {
                Place left = place(from);
                if constexpr (rows == 1) left.whole = false;
                updater.template few<path, Real, 1>(here, {left});
            }
        }
    }
}

/// Steps the tasks of a table that take this rule in this type on this path.
template <class Team, class Rule, class Real, Path path>
FS_RULE void update(const Table& table, const Part& part, Team team) {
    constexpr Type type = sizeof(Real) == sizeof(double) ? Type::float64 : Type::float32;
    const int64_t run = int64_t(1) << table.run_bits;
    for (int64_t i = part.chunk * run; i < table.chunk_count;) {
        const int64_t next = ((i >> table.run_bits) + 1) << table.run_bits;
        const Chunk chunk = table.chunks[i],
                    last = table.chunks[(next < table.chunk_count ? next : table.chunk_count) - 1];
        const Task& task = table.tasks[chunk.task];
        const Turn& turn = table.turns[chunk.task];
        const bool all = last.task == chunk.task && task.high(last.number) == task.high(chunk.number);
        i = all ? next : i + 1;
        if (i == next) i += (part.chunks - 1) * run;
        if (turn.update.rule != Rules::place<Rule> || task.type != type || task.path != path) continue;
        const int64_t begin = task.begin(chunk.number), end = task.end(all ? last.number : chunk.number);
        update<Team, Rule, Real, path>(task, turn, begin, end, part, team);
    }
}

}  // namespace fusedstep::cuda
