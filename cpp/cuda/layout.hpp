// A table in the device's memory, for as long as its tasks stay the same.
#pragma once

#include <algorithm>
#include <vector>

#include "catalog.hpp"
#include "memory.hpp"
#include "table.hpp"

namespace fusedstep::cuda {

/// A list of tasks in the device's memory, with what its steps write beside it.
class Layout {
public:
    bool holds(const std::vector<Task>& tasks, const Catalog& catalog) const {
        return tasks_ == tasks && listing_.catalog() == catalog;
    }
    const std::vector<int>& methods() const { return listing_.catalog().methods; }
    bool captured = false;  ///< a graph refers to it

    void put(const std::vector<Task>& tasks, const Catalog& catalog, Stream stream) {
        const bool same_cuts =
            std::equal(tasks.begin(), tasks.end(), tasks_.begin(), tasks_.end(),
                       [](const Task& a, const Task& b) { return a.size == b.size && a.offset == b.offset; });
        const bool cut_anew = !same_cuts || tasks_.empty();
        tasks_.clear();  // until all of the new ones are there
        task_.put(tasks.data(), tasks.size() * sizeof(Task), stream);
        if (cut_anew) cut(tasks, stream);
        listing_.put(catalog, stream);
        tasks_ = tasks;
    }

    /// Tells a table where everything is.
    void fill(Table& table) const {
        table.tasks = task_.as<const Task>();
        table.task_count = int(tasks_.size());
        table.chunks = chunk_.as<const Chunk>();
        table.chunk_count = chunk_count_;
        table.first_chunks = first_chunk_.as<const int64_t>();
        listing_.fill(table);
        table.turns = turn_.as<Turn>();
        table.sums = sum_.as<double>();
        table.squares = square_.as<double>();
    }

private:
    void cut(const std::vector<Task>& tasks, Stream stream) {
        std::vector<Chunk> chunks;
        std::vector<int64_t> first_chunks;
        for (size_t i = 0; i < tasks.size(); ++i) {
            first_chunks.push_back(int64_t(chunks.size()));
            for (int64_t number = 0; number < tasks[i].chunks(); ++number) chunks.push_back({int(i), int(number)});
        }
        chunk_.put(chunks.data(), chunks.size() * sizeof(Chunk), stream);
        first_chunk_.put(first_chunks.data(), first_chunks.size() * sizeof(int64_t), stream);
        turn_.reserve(tasks.size() * sizeof(Turn));
        sum_.reserve(chunks.size() * chunk_blocks * sizeof(double));
        square_.reserve(tasks.size() * sizeof(double));
        chunk_count_ = int64_t(chunks.size());
    }

    std::vector<Task> tasks_;
    Listing listing_;
    Memory task_, chunk_, first_chunk_, turn_, sum_, square_;
    int64_t chunk_count_ = 0;
};

}  // namespace fusedstep::cuda
