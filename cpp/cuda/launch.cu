#include "launch.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <variant>

#include "apart.hpp"
#include "check.hpp"
#include "displace.hpp"
#include "kernels.cuh"
#include "stats.hpp"

namespace fusedstep::cuda {
namespace {

cudaStream_t of(Stream stream) { return static_cast<cudaStream_t>(stream); }

/// As many blocks as the current device runs at a time, of a kernel that goes through its work by strides.
int64_t resident_blocks(const void* kernel) {
    const Apart apart;  // it may have to be loaded
    // Not let go: at the process's end a thread may still be here.
    static std::mutex& mutex = *new std::mutex;
    static auto& known = *new std::map<std::pair<int, const void*>, int64_t>;
    int device;
    check(cudaGetDevice(&device));
    const std::lock_guard lock(mutex);
    int64_t& blocks = known[{device, kernel}];
    if (blocks == 0) {
        int processors, of_each;
        check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, kernel, threads, 0));
        blocks = int64_t(processors) * of_each;
    }
    return blocks;
}

template <class... Argument>
int64_t resident_blocks(void (*kernel)(Argument...)) {
    return resident_blocks(reinterpret_cast<const void*>(kernel));
}

__global__ void __launch_bounds__(threads) squares_kernel(const Table table) {
    const int64_t warps = threads / Warp::lanes, warp = threadIdx.x / Warp::lanes;
    squares(table, blockIdx.x * warps + warp, gridDim.x * warps, Warp());
}

__global__ void __launch_bounds__(threads) add_kernel(const Table table) {
    __shared__ double gathered[threads];
    add_blocks(table, int(blockIdx.x), BlockOf<threads>(), gathered);
}

__global__ void settle_kernel(const Table table, const Stages stages) { settle(table, stages, Warp()); }

__global__ void __launch_bounds__(threads) displace_kernel(const Table table) {
    constexpr int warps = threads / Warp::lanes;
    displace(table, {blockIdx.x, gridDim.x, int(threadIdx.x) / Warp::lanes, warps}, Warp());
}

/// A block takes a group.
template <class Method>
__global__ void __launch_bounds__(threads)
    prepare_kernel(const Table table, const int method, const Decision decision) {
    const Members members = table.members[blockIdx.x];
    if (members.method != method) return;
    const Preparation<Method> group{table, members, decision};
    __shared__ alignas(Turn) char memory[sizeof(Turn)];
    __shared__ double carried;
    Turn& leader = *reinterpret_cast<Turn*>(memory);
    if (threadIdx.x == 0) {
        if (blockIdx.x == 0) group.count();
        carried = group.carry_of(members.begin);
        leader = group.lead();
    }
    __syncthreads();
    for (int task = members.begin + int(threadIdx.x); task < members.end; task += threads)
        group.follow(task, leader, carried);
}

using PrepareKernel = void (*)(Table, int, Decision);

template <class... Method>
PrepareKernel prepare_kernel_of(int method, const std::variant<Method...>*) {
    static constexpr PrepareKernel kernels[] = {prepare_kernel<Method>...};
    return kernels[method];
}

Kernel kernel_of(int rule, Type type, Path path) {
    const bool is_float = type == Type::float32;
    switch (path) {
        case Path::bare: return (is_float ? bare_float : bare_double).of_rule[rule];
        case Path::halves: return halves.of_rule[rule];
        case Path::mixed: return mixed.of_rule[rule];
        case Path::codes: return codes.of_rule[rule];
        default: return (is_float ? full_float : full_double).of_rule[rule];
    }
}

/// A stretch each; counters are gathered in the block's own memory first.
__global__ void __launch_bounds__(threads)
    read_kernel(const Reading reading, BlockSums* const blocks, unsigned long long* const counters) {
    __shared__ uint32_t gathered[Counter::all];
    for (int i = int(threadIdx.x); i < Counter::all; i += threads) gathered[i] = 0;
    __syncthreads();
    read(reading, blockIdx.x, int(threadIdx.x) / Warp::lanes, threads / Warp::lanes, Warp(), blocks, gathered);
    __syncthreads();
    for (int i = int(threadIdx.x); i < Counter::all; i += threads)
        if (gathered[i]) atomicAdd(&counters[i], gathered[i]);
}

}  // namespace

void measure(const Table& table, const Stages& stages, Stream stream) {
    if (stages.measure() && table.chunk_count > 0) {
        const int64_t most = (table.chunk_count * chunk_blocks + 15) / 16;  // a block of threads takes sixteen
        const int64_t blocks = std::min(most, resident_blocks(squares_kernel));
        squares_kernel<<<unsigned(blocks), threads, 0, of(stream)>>>(table);
    }
    if (stages.measure() && table.task_count > 0)
        add_kernel<<<unsigned(table.task_count), threads, 0, of(stream)>>>(table);
    settle_kernel<<<1, Warp::lanes, 0, of(stream)>>>(table, stages);
    check(cudaGetLastError());
}

void prepare(const Table& table, int method, const Decision& decision, Stream stream) {
    const PrepareKernel kernel = prepare_kernel_of(method, static_cast<const Method*>(nullptr));
    kernel<<<unsigned(table.member_count), threads, 0, of(stream)>>>(table, method, decision);
    check(cudaGetLastError());
}

void make_ready(int rule, Type type, Path path) {
    resident_blocks(kernel_of(rule, type, path));
    resident_blocks(squares_kernel);
    resident_blocks(add_kernel);
    resident_blocks(settle_kernel);
}

void displace(const Table& table, Stream stream) {
    if (table.chunk_count == 0) return;
    const int64_t blocks = std::min(table.chunk_count, resident_blocks(displace_kernel));
    displace_kernel<<<unsigned(blocks), threads, 0, of(stream)>>>(table);
    check(cudaGetLastError());
}

void read(const Reading& reading, BlockSums* blocks, uint64_t* counters, Stream stream) {
    const int64_t stretches = (reading.blocks() + stats_stretch - 1) / stats_stretch;
    if (stretches == 0) return;
    auto* const sums = reinterpret_cast<unsigned long long*>(counters);
    read_kernel<<<unsigned(stretches), threads, 0, of(stream)>>>(reading, blocks, sums);
    check(cudaGetLastError());
}

void update(const Table& table, int rule, Type type, Path path, Stream stream) {
    if (table.chunk_count == 0) return;
    const Kernel kernel = kernel_of(rule, type, path);
    const int64_t blocks = std::min(table.chunk_count, resident_blocks(kernel));
    // To find out about a task takes a block about two hundred instructions a thread, and it waits for memory three or
    // four times: less often where there are so many chunks that all blocks end at nearly the same time all the same.
    Table own = table;
    own.run_bits = 0;
    while (own.run_bits < 3 && table.chunk_count / blocks >= 128 << own.run_bits) ++own.run_bits;
    kernel<<<unsigned(blocks), threads, 0, of(stream)>>>(own);
    check(cudaGetLastError());
}

}  // namespace fusedstep::cuda
