// Σg² in double: of each block by sixteen sums that take turns and are added by halves, then page by page.
#pragma once

#include "row.hpp"
#include "table.hpp"

// A thread has so many elements on their way from memory: of two bytes each, four would be too few for all of a
// device's bandwidth.
#ifdef __CUDACC__
#define SIXTEEN_AHEAD _Pragma("unroll 16")
#else
#define SIXTEEN_AHEAD
#endif

namespace fusedstep::cuda {

/// Sixteen threads add up a block; where there is one thread, it holds sixteen sums.
template <class Team>
struct Lanes {
    static constexpr int all = 16, threads = Team::lanes < all ? Team::lanes : all, held = all / threads;
};

struct Added {
    FS_RULE double operator()(double x, double y) const { return x + y; }
};

template <class Team, class Element, class Widen>
FS_RULE double block_squares(const void* array, int64_t begin, int64_t end, Team team, Widen widen) {
    using Sums = Lanes<Team>;
    const Element* const values = static_cast<const Element*>(array);
    const int own = team.lane() % Sums::threads * Sums::held;
    double sums[Sums::held] = {};
    SIXTEEN_AHEAD
    for (int64_t at = begin + own; at < end; at += Sums::all)
        for (int i = 0; i < Sums::held; ++i)
            if (at + i < end) {
                const double x = widen(values[at + i]);
                sums[i] += x * x;
            }
    return team.reduce(sums, Added());
}

template <class Team>
FS_RULE double block_squares(const void* array, Type type, int64_t begin, int64_t end, Team team) {
    switch (type) {
        case Type::float64: return block_squares<Team, double>(array, begin, end, team, [](double x) { return x; });
        case Type::float32:
            return block_squares<Team, float>(array, begin, end, team, [](float x) { return double(x); });
        case Type::float16:
            return block_squares<Team, uint16_t>(array, begin, end, team,
                                                 [](uint16_t x) { return double(Float16::widen(x)); });
        default:
            return block_squares<Team, uint16_t>(array, begin, end, team,
                                                 [](uint16_t x) { return double(BFloat16::widen(x)); });
    }
}

/// The squares of a table's blocks, `part` of `parts`. Half a warp takes a block.
template <class Team>
FS_RULE void squares(const Table& table, int64_t part, int64_t parts, Team team) {
    constexpr int halves = Team::lanes / Lanes<Team>::threads;
    for (int64_t i = part * halves + team.lane() / Lanes<Team>::threads; i < table.chunk_count * chunk_blocks;
         i += parts * halves) {
        const Chunk chunk = table.chunks[i / chunk_blocks];
        const Task& task = table.tasks[chunk.task];
        // In the whole chunk, of which the task may lack the front or the end
        const int64_t front = chunk.number * cuda::chunk - task.offset % cuda::chunk;
        const int64_t first = front + i % chunk_blocks * sum_block, last = first + sum_block;
        const int64_t begin = first > 0 ? first : 0, end = last < task.size ? last : task.size;
        const void* const grad = Team::in_device_memory(const_cast<void*>(task.buffers.grad));
        const double sum = block_squares(grad, task.cargo.grad.type, begin, end, team);
        if (team.lane() % Lanes<Team>::threads == 0) table.sums[i] = sum;
    }
}

/// Adds up the blocks of a task: each thread a page at a time, and the first of them these, in order. `gathered`, which
/// all of them see, has room for a number of each.
template <class Team>
FS_RULE void add_blocks(const Table& table, int task, Team team, double* gathered) {
    const Task& own = table.tasks[task];
    const double* const sums = table.sums + table.first_chunks[task] * chunk_blocks;
    const int64_t count = own.chunks() * chunk_blocks, before = own.offset / chunk * chunk_blocks % sum_page;
    const auto begin = [&](int64_t page) { return page == 0 ? 0 : page * sum_page - before; };
    const int64_t pages = (before + count + sum_page - 1) / sum_page;
    double all = 0;
    for (int64_t first = 0; first < pages; first += Team::lanes) {
        const int64_t page = first + team.lane();
        const int64_t end = begin(page + 1) < count ? begin(page + 1) : count;
        double sum = 0;
        for (int64_t i = begin(page); i < end; ++i) sum += sums[i];
        gathered[team.lane()] = sum;
        team.meet();
        if (team.lane() == 0)
            for (int64_t i = 0; i < Team::lanes && first + i < pages; ++i) all += gathered[i];
        team.meet();
    }
    if (team.lane() == 0) table.squares[task] = all;
}

/// The same for a team: each of its threads goes through its own tensors, and adds up those of all.
template <class Team>
struct Measured {
    const double* squares;
    int64_t count;
    Team team;

    FS_RULE double of_own(int64_t first) const {
        const int64_t own = first + team.lane();
        return own < count ? squares[own] : 0;
    }
    /// In the tensors' order, where zeros behind the last change nothing
    FS_RULE double total() const {
        double all = 0, next = of_own(0);
        for (int64_t first = 0; first < count; first += Team::lanes) {
            const double mine = next;
            next = of_own(first + Team::lanes);  // on its way while these are added
            for (int lane = 0; lane < Team::lanes; ++lane) all += team.from(mine, lane);
        }
        return all;
    }
    template <class Take>
    FS_RULE void each(const Take& take) const {
        for (int64_t i = team.lane(); i < count; i += Team::lanes) take(i);
    }
};

/// Whether the step happens, and with which factors.
template <class Team>
FS_RULE void settle(const Table& table, const Stages& stages, Team team) {
    const Measured<Team> measured{table.squares, table.task_count, team};
    Outcome outcome =
        fusedstep::settle(stages.read(), measured, [&](int64_t i, double factor) { table.turns[i].factor = factor; });
    outcome.factor = team.joined(outcome.factor, Smaller());
    if (team.lane() == 0) table.progress->last = outcome;
}

}  // namespace fusedstep::cuda
