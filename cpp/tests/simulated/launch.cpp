// The kernels as loops on the processor. What a captured stream is given is kept, and done when its graph is launched.
#include "cuda/launch.hpp"

#include <cstdlib>
#include <functional>
#include <mutex>
#include <set>
#include <tuple>
#include <variant>
#include <vector>

#include "alone.hpp"
#include "cuda/displace.hpp"
#include "cuda/stats.hpp"
#include "cuda/update.hpp"
#include "failure.hpp"

namespace fusedstep::cuda {
namespace {

std::vector<std::function<void()>> graph;
std::mutex loading;
std::set<std::tuple<int, Type, Path>> loaded;

void put(Stream stream, std::function<void()> work) {
    if (capturing(stream))
        graph.push_back(std::move(work));
    else
        work();
}

using Kernel = void (*)(const Table& table);

/// As a grid would: the teams of three blocks, with two teams each.
template <class Rule, class Real, Path path>
void all_parts(const Table& table) {
    Table own = table;
    own.run_bits = 1;
    if constexpr (is_taken<Rule>(path))
        for (int block = 0; block < 3; ++block)
            for (int team = 0; team < 2; ++team) update<Alone, Rule, Real, path>(own, {block, 3, team, 2}, Alone());
    else
        std::abort();
}

template <class Real, Path path, class... Rule>
Kernel kernel(int rule, List<Rule...>) {
    static constexpr Kernel kernels[] = {all_parts<Rule, Real, path>...};
    return kernels[rule];
}

Kernel kernel(int rule, Type type, Path path) {
    const bool is_float = type == Type::float32;
    switch (path) {
        case Path::bare:
            return is_float ? kernel<float, Path::bare>(rule, Rules()) : kernel<double, Path::bare>(rule, Rules());
        case Path::halves: return kernel<float, Path::halves>(rule, Rules());
        case Path::mixed: return kernel<float, Path::mixed>(rule, Rules());
        case Path::codes: return kernel<float, Path::codes>(rule, Rules());
        default: return is_float ? kernel<float, Path::full>(rule, Rules()) : kernel<double, Path::full>(rule, Rules());
    }
}

template <class Method>
void prepare_group(const Table& table, int number, const Decision& decision) {
    const Members& members = table.members[number];
    const Preparation<Method> group{table, members, decision};
    if (number == 0) group.count();
    const double carried = group.carry_of(members.begin);
    const Turn leader = group.lead();
    for (int task = members.begin; task < members.end; ++task) group.follow(task, leader, carried);
}

using Prepare = void (*)(const Table& table, int number, const Decision& decision);

template <class... Method>
Prepare prepare_of(int method, const std::variant<Method...>*) {
    static constexpr Prepare all[] = {prepare_group<Method>...};
    return all[method];
}

}  // namespace

void measure(const Table& table, const Stages& stages, Stream stream) {
    put(stream, [=] {
        if (stages.measure()) {
            for (int64_t part = 0; part < 5; ++part) squares(table, part, 5, Alone());
            double gathered[1];
            for (int task = 0; task < table.task_count; ++task) add_blocks(table, task, Alone(), gathered);
        }
        settle(table, stages, Alone());
    });
}

void prepare(const Table& table, int method, const Decision& decision, Stream stream) {
    const Prepare run = prepare_of(method, static_cast<const Method*>(nullptr));
    put(stream, [=] {
        // The last first: no group waits for another.
        for (int i = table.member_count - 1; i >= 0; --i)
            if (table.members[i].method == method) run(table, i, decision);
    });
}

void displace(const Table& table, Stream stream) {
    put(stream, [=] {
        for (int block = 0; block < 3; ++block)
            for (int team = 0; team < 2; ++team) displace(table, {block, 3, team, 2}, Alone());
    });
}

void read(const Reading& reading, BlockSums* blocks, uint64_t* counters, Stream) {
    const int64_t stretches = (reading.blocks() + stats_stretch - 1) / stats_stretch;
    for (int64_t stretch = 0; stretch < stretches; ++stretch) {
        uint32_t gathered[Counter::all] = {};
        for (int part = 0; part < 3; ++part) read(reading, stretch, part, 3, Alone(), blocks, gathered);
        for (int i = 0; i < Counter::all; ++i) counters[i] += gathered[i];
    }
}

void make_ready(int rule, Type type, Path path) {
    const std::lock_guard lock(loading);
    if (loaded.contains({rule, type, path})) return;
    may_fail();
    loaded.insert({rule, type, path});
}
void forget_kernels() {
    const std::lock_guard lock(loading);
    loaded.clear();
}

void update(const Table& table, int rule, Type type, Path path, Stream stream) {
    make_ready(rule, type, path);
    const Kernel run = kernel(rule, type, path);
    put(stream, [=] { run(table); });
}

}  // namespace fusedstep::cuda

extern "C" __attribute__((visibility("default"))) void fusedstep_launch_graph() {
    for (const auto& work : fusedstep::cuda::graph) work();
}
extern "C" __attribute__((visibility("default"))) void fusedstep_drop_graph() { fusedstep::cuda::graph.clear(); }
