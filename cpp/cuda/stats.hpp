// What is counted and summed up of an array's numbers, a block by half a warp.
#pragma once

#include "../kernel/stats.hpp"
#include "../storage/number.hpp"
#include "norm.hpp"

namespace fusedstep::cuda {

/// Blocks that a block of threads takes together, with counters of its own.
constexpr int64_t stats_stretch = 16;

/// The counters: the histogram's bins, and behind them these.
struct Counter {
    static constexpr int zeros = bins, nonfinite = bins + 1, same = bins + 2, all = bins + 3;
};

struct Larger {
    FS_RULE double operator()(double x, double y) const { return x < y ? y : x; }
};

/// Calls take(lane's place among its own, element) for a lane's elements of a block.
template <class Team, class Take>
FS_RULE void each_own(int64_t begin, int64_t end, Team team, Take take) {
    using Sums = Lanes<Team>;
    const int own = team.lane() % Sums::threads * Sums::held;
    for (int64_t at = begin + own; at < end; at += Sums::all)
        for (int i = 0; i < Sums::held; ++i)
            if (at + i < end) take(i, at + i);
}

template <class Format, class Team>
FS_RULE void measure_block(const void* array, int64_t begin, int64_t end, Team team, Moments& moments,
                           uint32_t* counters) {
    using Real = typename Format::Real;
    const auto* const values = static_cast<const typename Format::Element*>(array);
    constexpr int held = Lanes<Team>::held;
    double absolute[held] = {}, squares[held] = {}, sum[held] = {}, largest[held] = {};
    each_own(begin, end, team, [&](int lane, int64_t at) {
        const Real any = Format::widen(values[at]);
        const auto size = size_of_number(any);
        if (size == 0 || size >= Bits<Real>::infinity)
            return team.count(counters[size == 0 ? Counter::zeros : Counter::nonfinite]);
        team.count(counters[Bits<Real>::bin(size)]);
        const double x = any, far = x < 0 ? -x : x;
        absolute[lane] += far;
        squares[lane] += x * x;
        sum[lane] += x;
        largest[lane] = Larger()(largest[lane], far);
    });
    moments.absolute = team.reduce(absolute, Added());
    moments.squares = team.reduce(squares, Added());
    moments.sum = team.reduce(sum, Added());
    moments.largest = team.reduce(largest, Larger());
}

template <class Format, class Team>
FS_RULE void compare_block(const void* before, const void* after, int64_t begin, int64_t end, Team team, Change& change,
                           uint32_t* counters) {
    using Element = typename Format::Element;
    using Word = typename Bits<Element>::Word;
    const auto* const old = static_cast<const Element*>(before);
    const auto* const now = static_cast<const Element*>(after);
    constexpr int held = Lanes<Team>::held;
    double changes[held] = {}, sizes[held] = {};
    each_own(begin, end, team, [&](int lane, int64_t at) {
        const double x = Format::widen(old[at]), moved = Format::widen(now[at]) - x;
        changes[lane] += moved * moved;
        sizes[lane] += x * x;
        if (as<Word>(old[at]) == as<Word>(now[at])) team.count(counters[Counter::same]);
    });
    change.squares = team.reduce(changes, Added());
    change.before = team.reduce(sizes, Added());
}

/// Calls work(format) with an array's type.
template <class Work>
FS_RULE void with_format(Type type, Work work) {
    switch (type) {
        case Type::float64: return work(Double());
        case Type::float32: return work(Single());
        case Type::float16: return work(Half<Float16>());
        default: return work(Half<BFloat16>());
    }
}

/// A stretch of a reading's blocks, `part` of `parts`.
template <class Team>
FS_RULE void read(const Reading& reading, int64_t stretch, int part, int parts, Team team, BlockSums* blocks,
                  uint32_t* counters) {
    constexpr int halves = Team::lanes / Lanes<Team>::threads;
    const int64_t first = stretch * stats_stretch;
    for (int64_t i = part * halves + team.lane() / Lanes<Team>::threads; i < stats_stretch; i += parts * halves) {
        const int64_t begin = (first + i) * stats_block, left = reading.size - begin;
        if (left <= 0) break;
        const int64_t end = begin + (left < stats_block ? left : stats_block);
        BlockSums sums;
        with_format(reading.type, [&](auto format) {
            measure_block<decltype(format)>(reading.grad, begin, end, team, sums.moments, counters);
        });
        if (reading.before)
            with_format(reading.param_type, [&](auto format) {
                compare_block<decltype(format)>(reading.before, reading.after, begin, end, team, sums.change, counters);
            });
        if (team.lane() % Lanes<Team>::threads == 0) blocks[first + i] = sums;
    }
}

}  // namespace fusedstep::cuda
