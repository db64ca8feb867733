// The numbers of a block, which comes from memory once: sums in double, counts, and a histogram of the exponents.
// Compiled once per target, under the conditions of loops.hpp.
#include <type_traits>

#include "../kernel/target.hpp"
#include "../storage/number.hpp"
#include "ahead.hpp"
#include "histogram.hpp"
#include "lanes.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

template <class Format, bool nonfinite>
FS_RULE void add(const typename Format::Element* values, int count, Ahead<typename Format::Element> ahead,
                 Moments& moments) {
    using Real = typename Format::Real;
    using Word = typename Bits<Real>::Word;
    double absolute[lanes] = {}, squares[lanes] = {}, sum[lanes] = {};
    each_row(
        count,
        [&](const typename Format::Element* row) IN_LINE {
            ahead.ask(lanes / 2);
            for (int lane = 0; lane < lanes; ++lane) {
                Real kept = Format::widen(row[lane]);
                if constexpr (nonfinite) {
                    const Word finite = size_of_number(kept) < Bits<Real>::infinity;
                    kept = as<Real>(as<Word>(kept) & -finite);
                }
                const double x = kept;
                absolute[lane] += fabs(x);
                squares[lane] = plus_square<Format>(squares[lane], x);
                sum[lane] += x;
            }
        },
        values);
    moments.absolute = total(absolute);
    moments.squares = total(squares);
    moments.sum = total(sum);
}

/// What comparisons find.
template <class Format>
struct Look {
    using Real = typename Format::Real;
    using Word = typename Bits<Real>::Word;

    Word largest = 0, zeros = 0, nonfinite = 0;

    FS_RULE Look(const typename Format::Element* values, int count) {
        for (int i = 0; i < count; ++i) {
            const Word size = size_of_number(Format::widen(values[i]));
            largest = size > largest ? size : largest;
            zeros += size == 0;
        }
        if (largest >= Bits<Real>::infinity) look_for_finite(values, count);
    }

private:
    FS_RULE void look_for_finite(const typename Format::Element* values, int count) {
        largest = 0;
        for (int i = 0; i < count; ++i) {
            const Word size = size_of_number(Format::widen(values[i]));
            const Word kept = size < Bits<Real>::infinity ? size : 0;
            largest = kept > largest ? kept : largest;
            nonfinite += size >= Bits<Real>::infinity;
        }
    }
};

/// A float32 with the exponent of a number's bin.
FS_RULE float exponent_of(float x) { return x; }
FS_RULE float exponent_of(double x) { return as<float>(uint32_t(Bits<double>::bin(size_of_number(x))) << 23); }

/// Numbers whose exponents are the bins of a block's.
template <class Format>
FS_RULE const float* with_exponents(const typename Format::Element* values, int count, float* RESTRICT place) {
    if constexpr (std::is_same_v<Format, Single>) {
        return values;
    } else {
        for (int i = 0; i < count; ++i) place[i] = exponent_of(Format::widen(values[i]));
        return place;
    }
}

template <class Format>
void measure(const void* array, int64_t size, Moments& moments, Counts& counts) {
    using Real = typename Format::Real;
    const auto* values = static_cast<const typename Format::Element*>(array);
    const int count = int(size);
    const Look<Format> found(values, count);
    moments.largest = as<Real>(found.largest);
    counts.zeros += found.zeros;
    counts.nonfinite += found.nonfinite;
    alignas(64) float exponents[stats_block];
    Ahead next(values, stats_block);
    count_bins(with_exponents<Format>(values, count, exponents), count, int(found.zeros), int(found.nonfinite),
               Bits<Real>::bin(found.largest), next, counts.histogram);
    found.nonfinite ? add<Format, true>(values, count, next, moments)
                    : add<Format, false>(values, count, next, moments);
}

template <class Format>
void compare(const void* before, const void* after, int64_t size, Change& change, Counts& counts) {
    using Element = typename Format::Element;
    using Word = typename Bits<Element>::Word;
    const auto* RESTRICT old = static_cast<const Element*>(before);
    const auto* RESTRICT now = static_cast<const Element*>(after);
    const int count = int(size);
    constexpr int page = Ahead<Element>::page;
    Ahead old_ahead(old, page), now_ahead(now, page);
    double changes[lanes] = {}, sizes[lanes] = {};
    each_row(
        count,
        [&](const Element* from, const Element* to) {
            old_ahead.ask(lanes);
            now_ahead.ask(lanes);
            for (int lane = 0; lane < lanes; ++lane) {
                const double x = Format::widen(from[lane]), moved = Format::widen(to[lane]) - x;
                changes[lane] += moved * moved;
                sizes[lane] = plus_square<Format>(sizes[lane], x);
            }
        },
        old, now);
    change.squares = total(changes);
    change.before = total(sizes);
    int32_t same = 0;
    for (int i = 0; i < count; ++i) same += as<Word>(old[i]) == as<Word>(now[i]);
    counts.same += same;
}

}  // namespace

extern constinit const Stats stats;
constinit const Stats stats = {
    {measure<Single>, measure<Double>, measure<Half<Float16>>, measure<Half<BFloat16>>},
    {compare<Single>, compare<Double>, compare<Half<Float16>>, compare<Half<BFloat16>>},
};

}  // namespace fusedstep::FUSEDSTEP_TARGET
