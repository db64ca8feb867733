// θ − f·v, where momentum leads to, into arrays of their own. Of a task, v is its gradient, and what is written its
// copy; f is its factor, times the learning rate of its group, if it names one.
#pragma once

#include "update.hpp"

namespace fusedstep::cuda {

template <class Team, class Real>
FS_RULE void displace(const Task& task, double factor, const Place& place, Team team) {
    const Cargo& cargo = task.cargo;
    using Own = Rows<Team, Real>;
    Own param;
    param.template load<Kinds::numbers()>({task.buffers.param, cargo.param}, place);
    if (task.buffers.grad) {
        Own momentum;
        momentum.template load<every_kind>({const_cast<void*>(task.buffers.grad), cargo.grad}, place);
        for (int i = 0; i < Own::held; ++i) param.x[i] = param.x[i] - Real(factor) * momentum.x[i];
    }
    param.template store<Kinds::plain()>({cargo.copy, {cargo.copy_type}}, place, team);
}

template <class Team>
FS_RULE void displace(const Table& table, const Part& part, Team team) {
    for (int64_t i = part.chunk; i < table.chunk_count; i += part.chunks) {
        const Chunk chunk = table.chunks[i];
        const Task& task = table.tasks[chunk.task];
        const double factor = task.group < 0 ? task.cargo.factor : task.cargo.factor * table.rates[task.group];
        const int64_t begin = task.begin(chunk.number), end = task.end(chunk.number);
        for (int64_t from = begin + part.row * row; from < end; from += part.rows * row) {
            const Place place = place_in(from, end, task.offset, task.aligned, team);
            if (task.type == Type::float64)
                displace<Team, double>(task, factor, place, team);
            else
                displace<Team, float>(task, factor, place, team);
        }
    }
}

}  // namespace fusedstep::cuda
