// The kernels as loops on the processor. What a captured stream is given is kept, and done when its graph is launched.
#include "cuda/launch.hpp"

#include <functional>
#include <variant>
#include <vector>

#include "alone.hpp"
#include "cuda/stats.hpp"
#include "cuda/update.hpp"

namespace fusedstep::cuda {
namespace {

std::vector<std::function<void()>> graph;

void put(Stream stream, std::function<void()> work) {
    if (capturing(stream))
        graph.push_back(std::move(work));
    else
        work();
}

using Kernel = void (*)(const Table& table);

/// As a grid would: the teams of three blocks, with two teams each.
template <class Rule, class Real, bool bare>
void all_parts(const Table& table) {
    for (int block = 0; block < 3; ++block)
        for (int team = 0; team < 2; ++team) update<Alone, Rule, Real, bare>(table, {block, 3, team, 2}, Alone());
}

template <class Real, bool bare, class... Rule>
Kernel kernel(int rule, List<Rule...>) {
    static constexpr Kernel kernels[] = {all_parts<Rule, Real, bare>...};
    return kernels[rule];
}

}  // namespace

void measure(const Table& table, const Stages& stages, Stream stream) {
    put(stream, [=] {
        for (int64_t part = 0; part < 5; ++part) squares(table, part, 5, Alone());
        for (int task = 0; task < table.task_count; ++task) add_blocks(table, task, Alone());
        settle(table, stages);
    });
}

void prepare(const Table& table, const Preparation<Method>& group, Stream stream) {
    put(stream, [=] {
        std::visit(
            [&](const auto& method) {
                using One = std::decay_t<decltype(method)>;
                const Preparation<One> own{method,      group.decay,    group.begin,  group.end,
                                           group.first, group.measured, group.outcome};
                const double carried = carry_of(table.tasks[group.begin]);
                const Turn leader = lead(table, own);
                for (int task = group.begin; task < group.end; ++task) follow(table, own, task, leader, carried);
            },
            group.method);
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

void make_ready(int, Type, bool) {}

void update(const Table& table, int rule, Type type, bool bare, Stream stream) {
    const Kernel run = type == Type::float32
                           ? bare ? kernel<float, true>(rule, Rules()) : kernel<float, false>(rule, Rules())
                       : bare ? kernel<double, true>(rule, Rules())
                              : kernel<double, false>(rule, Rules());
    put(stream, [=] { run(table); });
}

}  // namespace fusedstep::cuda

extern "C" __attribute__((visibility("default"))) void fusedstep_launch_graph() {
    for (const auto& work : fusedstep::cuda::graph) work();
}
extern "C" __attribute__((visibility("default"))) void fusedstep_drop_graph() { fusedstep::cuda::graph.clear(); }
