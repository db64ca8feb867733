// The teams on a GPU: a warp, which takes one row, or several side by side.
#pragma once

#include "norm.hpp"

namespace fusedstep::cuda {

/// What is written at once.
template <size_t bytes>
struct PieceOf;
template <>
struct PieceOf<16> {
    using type = uint4;
};
template <>
struct PieceOf<8> {
    using type = uint2;
};
template <>
struct PieceOf<4> {
    using type = uint32_t;
};

/// So many threads to a row.
template <int threads_of_row>
struct WarpOf {
    static constexpr int lanes = threads_of_row, rows = 32 / lanes;
    static constexpr unsigned everyone = 0xffffffff;

    /// In pieces of sixteen bytes: left to itself the compiler takes a pack apart.
    template <class Pack>
    static __device__ void write(void* to, const Pack& pack) {
        using Piece = typename PieceOf<(sizeof(Pack) < 16 ? sizeof(Pack) : 16)>::type;
        Piece pieces[sizeof(Pack) / sizeof(Piece)];
        memcpy(pieces, &pack, sizeof(Pack));
        for (size_t i = 0; i < sizeof(Pack) / sizeof(Piece); ++i) static_cast<Piece*>(to)[i] = pieces[i];
    }

    __device__ int lane() const { return int(threadIdx.x) % lanes; }
    /// Which of its rows
    __device__ int row() const { return int(threadIdx.x) % 32 / lanes; }

    /// Whether something is so in one of its threads
    __device__ bool any(bool mine) const { return __any_sync(everyone, mine); }

    /// Of a row
    __device__ int32_t largest(int32_t mine) const {
        for (int other = lanes / 2; other > 0; other /= 2) {
            const int32_t theirs = __shfl_xor_sync(everyone, mine, other);
            mine = theirs > mine ? theirs : mine;
        }
        return mine;
    }

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

}  // namespace fusedstep::cuda
