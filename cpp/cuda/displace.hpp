// θ − f·v, where momentum leads to, into arrays of their own. Of a task, v is its gradient, f its factor, and what is
// written its copy.
#pragma once

#include "update.hpp"

namespace fusedstep::cuda {

template <class Team, class Real>
RULE void displace(const Task& task, const Place& place, Team team) {
    const Cargo& cargo = task.cargo;
    using Own = Rows<Team, Real>;
    Own param;
    param.load(task.buffers.param, cargo.param, place);
    if (task.buffers.grad) {
        Own momentum;
        momentum.load(task.buffers.grad, cargo.grad, place);
        for (int i = 0; i < Own::held; ++i) param.x[i] = param.x[i] - Real(cargo.factor) * momentum.x[i];
    }
    param.store(cargo.copy, Format{cargo.copy_type}, place, 0, team);
}

template <class Team>
RULE void displace(const Table& table, const Part& part, Team team) {
    constexpr int held = row / Team::lanes;
    for (int64_t i = part.chunk; i < table.chunk_count; i += part.chunks) {
        const Chunk chunk = table.chunks[i];
        const Task& task = table.tasks[chunk.task];
        const int64_t begin = task.begin(chunk.number), end = task.end(chunk.number);
        for (int64_t from = begin + part.row * row; from < end; from += part.rows * row) {
            const int64_t at = from + team.lane() * held, left = end - at;
            const int count = left < 0 ? 0 : left < held ? int(left) : held;
            const Place place{at, uint32_t(task.offset + at), count, task.aligned && count == held};
            if (task.type == Type::float64)
                displace<Team, double>(task, place, team);
            else
                displace<Team, float>(task, place, team);
        }
    }
}

}  // namespace fusedstep::cuda
