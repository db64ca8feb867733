// The numbers of a block, read once: sums in double, counts, and a histogram of the exponents. Compiled once per
// target, under the conditions of loops.hpp.
#include "../kernel/target.hpp"
#include "../storage/number.hpp"
#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// Sums that take turns.
constexpr int lanes = 16;

/// Bytes that are compared at a time.
constexpr int tile = 64;

/// The lanes' sums, added by halves.
RULE double total(double* sums) {
    for (int half = lanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    return sums[0];
}

/// The last elements of a block, with zeros behind them.
template <class Element>
struct Rest {
    Element row[lanes] = {};

    RULE Rest(const Element* values, int count) {
        for (int i = 0; i < count; ++i) row[i] = values[i];
    }
};

/// Takes the elements of blocks sixteen at a time.
template <class Take, class... Element>
RULE void each_row(int count, Take take, const Element*... values) {
    const int even = count / lanes * lanes;
    for (int i = 0; i < even; i += lanes) take(values + i...);
    if (even < count) take(Rest<Element>(values + even, count - even).row...);
}

template <class Format>
RULE void add(const typename Format::Element* values, int count, Moments& moments) {
    using Real = typename Format::Real;
    double absolute[lanes] = {}, squares[lanes] = {}, sum[lanes] = {};
    each_row(
        count,
        [&](const typename Format::Element* row) {
            for (int lane = 0; lane < lanes; ++lane) {
                const Real any = Format::widen(row[lane]);
                const double x = size_of_number(any) < Bits<Real>::infinity ? any : Real(0);
                absolute[lane] += __builtin_fabs(x);
                squares[lane] += x * x;
                sum[lane] += x;
            }
        },
        values);
    moments.absolute = total(absolute);
    moments.squares = total(squares);
    moments.sum = total(sum);
}

/// The bin of each element.
template <class Format>
RULE void sort(const typename Format::Element* RESTRICT values, uint8_t* RESTRICT found, int count) {
    using Real = typename Format::Real;
    for (int i = 0; i < count; ++i) found[i] = Bits<Real>::bin(size_of_number(Format::widen(values[i])));
}

/// What comparisons find.
template <class Format>
RULE void look(const typename Format::Element* values, int count, Moments& moments, Counts& counts) {
    using Real = typename Format::Real;
    using Word = typename Bits<Real>::Word;
    Word largest = 0, zeros = 0, nonfinite = 0;
    for (int i = 0; i < count; ++i) {
        const Word size = size_of_number(Format::widen(values[i]));
        const Word kept = size < Bits<Real>::infinity ? size : 0;
        largest = kept > largest ? kept : largest;
        zeros += size == 0;
        nonfinite += size >= Bits<Real>::infinity;
    }
    moments.largest = as<Real>(largest);
    counts.zeros += zeros;
    counts.nonfinite += nonfinite;
    counts.histogram[0] -= zeros;
    counts.histogram[bins - 1] -= nonfinite;
}

/// How many elements are of one bin. Lanes count in bytes: none has 256 turns.
RULE int count_one(const uint8_t* found, int count, uint8_t bin) {
    static_assert(stats_block / tile < 256);
    uint8_t sums[tile] = {};
    for (int i = 0; i < count; i += tile) {
        INDEPENDENT
        for (int lane = 0; lane < tile; ++lane) sums[lane] = uint8_t(sums[lane] + (found[i + lane] == bin));
    }
    int sum = 0;
    for (int lane = 0; lane < tile; ++lane) sum += sums[lane];
    return sum;
}

/// The few that lie in bins 1 … most.
RULE void count_few(const uint8_t* found, int count, int most, int64_t* histogram) {
    for (int i = 0; i < count; i += tile) {
        uint8_t any = 0;
        for (int lane = 0; lane < tile; ++lane) any |= uint8_t(uint8_t(found[i + lane] - 1) < most);
        if (!any) continue;
        for (int lane = 0; lane < tile; ++lane)
            if (const int bin = found[i + lane]; bin > 0 && bin <= most) ++histogram[bin];
    }
}

/// The many that lie in bins 1 … most. Neighbours are often alike, and a count must not wait for the one before.
RULE void count_many(const uint8_t* found, int count, int most, int64_t* histogram) {
    constexpr int copies = 4;
    uint16_t sums[copies][bins] = {};
    for (int i = 0; i < count; i += copies)
        for (int copy = 0; copy < copies; ++copy) ++sums[copy][found[i + copy]];
    for (int bin = 1; bin <= most; ++bin)
        for (int copy = 0; copy < copies; ++copy) histogram[bin] += sums[copy][bin];
}

/// Most numbers of a block lie in the bins next to its largest: to compare all with one bin takes a 30th of the time
/// that it takes to count each.
RULE void count_bins(const uint8_t* found, int count, int largest, int64_t* histogram) {
    constexpr int next = 14, few = 512, many = 32;
    int left = count;
    const auto one = [&](int bin) {
        const int number = count_one(found, count, uint8_t(bin));
        histogram[bin] += number;
        left -= number;
    };
    one(0);
    one(bins - 1);
    int bin = largest < bins - 1 ? largest : bins - 2;
    for (const int last = bin - next; bin > 0 && bin > last && left > count / few; --bin) one(bin);
    if (left > count / many)
        count_many(found, count, bin, histogram);
    else if (left > 0)
        count_few(found, count, bin, histogram);
}

template <class Format>
void measure(const void* array, int64_t size, Moments& moments, Counts& counts) {
    using Real = typename Format::Real;
    const auto* values = static_cast<const typename Format::Element*>(array);
    const int count = int(size), filled = (count + tile - 1) / tile * tile;
    alignas(64) uint8_t found[stats_block];
    sort<Format>(values, found, count);
    for (int i = count; i < filled; ++i) found[i] = 0;
    counts.histogram[0] -= filled - count;
    look<Format>(values, count, moments, counts);
    count_bins(found, filled, Bits<Real>::bin(size_of_number(Real(moments.largest))), counts.histogram);
    add<Format>(values, count, moments);
}

template <class Format>
void compare(const void* before, const void* after, int64_t size, Change& change, Counts& counts) {
    using Element = typename Format::Element;
    using Word = typename Bits<Element>::Word;
    const auto* RESTRICT old = static_cast<const Element*>(before);
    const auto* RESTRICT now = static_cast<const Element*>(after);
    const int count = int(size);
    double changes[lanes] = {}, sizes[lanes] = {};
    each_row(
        count,
        [&](const Element* from, const Element* to) {
            for (int lane = 0; lane < lanes; ++lane) {
                const double x = Format::widen(from[lane]), moved = Format::widen(to[lane]) - x;
                changes[lane] += moved * moved;
                sizes[lane] += x * x;
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
