// The teams on a GPU: a warp, which takes one row, or several side by side; and a block.
#pragma once

#include <type_traits>

#include "norm.hpp"

namespace fusedstep::cuda {

// What is written at once. Left to itself the compiler takes some of it apart.
inline __device__ void write_piece(uint4* to, uint4 piece) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(to), "r"(piece.x), "r"(piece.y), "r"(piece.z), "r"(piece.w)
                 : "memory");
}
inline __device__ void write_piece(uint2* to, uint2 piece) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" : : "l"(to), "r"(piece.x), "r"(piece.y) : "memory");
}
inline __device__ void write_piece(uint32_t* to, uint32_t piece) {
    asm volatile("st.global.b32 [%0], %1;" : : "l"(to), "r"(piece) : "memory");
}

/// So many threads to a row.
template <int threads_of_row>
struct WarpOf {
    static constexpr int lanes = threads_of_row, rows = 32 / lanes;
    static constexpr unsigned everyone = 0xffffffff;

    template <class Pack>
    static __device__ void write(void* to, const Pack& pack) {
        constexpr size_t bytes = sizeof(Pack);
        using Piece = std::conditional_t<bytes == 4, uint32_t, std::conditional_t<bytes == 8, uint2, uint4>>;
        Piece pieces[sizeof(Pack) / sizeof(Piece)];
        memcpy(pieces, &pack, sizeof(Pack));
        for (size_t i = 0; i < sizeof(Pack) / sizeof(Piece); ++i) write_piece(static_cast<Piece*>(to) + i, pieces[i]);
    }

    /// An address that the kernel finds in a table, where the compiler cannot always tell of which memory it is.
    static __device__ void* in_device_memory(void* address) {
        __builtin_assume(__isGlobal(address));
        return address;
    }

    /// What is not to be calculated again for each row
    static __device__ void* kept(void* address) {
        asm("" : "+l"(address));
        return in_device_memory(address);
    }

    /// Has the second cache bring what is about to be read.
    static __device__ void ask(const void* address) { asm volatile("prefetch.global.L2 [%0];" : : "l"(address)); }

    __device__ int lane() const { return int(threadIdx.x) % lanes; }
    /// Which of its rows
    __device__ int row() const { return int(threadIdx.x) % 32 / lanes; }

    /// Whether something is so in one of its threads
    __device__ bool any(bool mine) const { return __any_sync(everyone, mine); }

    /// Of a row
    __device__ uint32_t largest(uint32_t mine) const {
        for (int other = lanes / 2; other > 0; other /= 2) {
            const uint32_t theirs = __shfl_xor_sync(everyone, mine, other);
            mine = theirs > mine ? theirs : mine;
        }
        return mine;
    }

    /// What a lane has
    __device__ double from(double mine, int lane) const { return __shfl_sync(everyone, mine, lane); }

    /// What lanes wrote before it, all see after it.
    __device__ void meet() const { __syncwarp(); }

    /// What half a warp's numbers come to, by halves; the half's first lane has it. The halves may be at different
    /// places.
    template <class Join>
    __device__ double reduce(double (&numbers)[1], Join join) const {
        constexpr int half = Lanes<WarpOf>::threads;
        const unsigned members = 0xffffu << (lane() / half * half);
        double joined = numbers[0];
        for (int next = half / 2; next > 0; next /= 2)
            joined = join(joined, __shfl_down_sync(members, joined, next, half));
        return joined;
    }

    /// What the numbers of all threads come to
    template <class Join>
    __device__ double joined(double mine, Join join) const {
        for (int other = 16; other > 0; other /= 2) mine = join(mine, __shfl_xor_sync(everyone, mine, other));
        return mine;
    }

    __device__ void count(uint32_t& counter) const { atomicAdd(&counter, 1u); }
};
using Warp = WarpOf<32>;

/// So many threads as a block has
template <int threads_of_block>
struct BlockOf {
    static constexpr int lanes = threads_of_block;

    __device__ int lane() const { return int(threadIdx.x); }
    __device__ void meet() const { __syncthreads(); }
};

}  // namespace fusedstep::cuda
