// How many numbers of a block lie in which bin: each number becomes a bit in a word, and words are added bit by bit,
// sixteen side by side. Under the conditions of loops.hpp.
#pragma once

#include "../kernel/stats.hpp"
#include "../storage/number.hpp"
#include "ahead.hpp"
#include "lanes.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// Bins that are counted at a time: the powers of two that int32 has.
constexpr int window = 31;

/// Bits of a word, of which the last stays 0: counters fill whole vectors.
constexpr int word_bits = window + 1;

/// Words of a column that are added at a time.
constexpr int rows = 8;

constexpr int group = rows * lanes;

/// A bin where float32 has its exponent.
constexpr uint32_t place(int bin) { return uint32_t(bin) << 23; }

/// 2^(bin − lowest), or 0 where that is no bin of the window. A float32 that is converted, as a target need not have
/// shifts by another number in each lane; and a mask, as compilers choose whether to convert by a branch.
FS_RULE uint32_t mark(float value, int lowest) {
    const uint32_t above = (as<uint32_t>(value) & infinity_bits) - place(lowest);
    const uint32_t inside = above <= place(window - 1);
    return uint32_t(int32_t(as<float>((above + place(127)) & -inside)));
}

struct Sum {
    uint32_t digit, carry;
};
FS_RULE Sum add(uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t two = a ^ b;
    return {two ^ c, (a & b) | (two & c)};
}

/// The lowest three binary digits of many numbers, digit by digit: bit i of a word belongs to number i.
struct Digits {
    uint32_t ones[lanes], twos[lanes], fours[lanes];

    /// Adds the words of eight rows. What is carried is worth eight.
    template <class Word, class Mark>
    FS_RULE void add_rows(const Word* RESTRICT words, uint32_t* RESTRICT eights, Mark mark) {
        for (int i = 0; i < lanes; ++i) {
            const Word* const column = words + i;
            const Sum a = add(ones[i], mark(column[0]), mark(column[lanes])),
                      b = add(a.digit, mark(column[2 * lanes]), mark(column[3 * lanes])),
                      c = add(b.digit, mark(column[4 * lanes]), mark(column[5 * lanes])),
                      d = add(c.digit, mark(column[6 * lanes]), mark(column[7 * lanes])),
                      e = add(twos[i], a.carry, b.carry), f = add(e.digit, c.carry, d.carry),
                      g = add(fours[i], e.carry, f.carry);
            ones[i] = d.digit;
            twos[i] = f.digit;
            fours[i] = g.digit;
            eights[i] = g.carry;
        }
    }
};

/// Adds `worth` to a bin for each of its bits in a row.
FS_RULE void add_bits(const uint32_t* RESTRICT words, int worth, int* RESTRICT counts) {
    int bits[word_bits] = {};
    for (int i = 0; i < lanes; ++i)
        for (int bin = 0; bin < word_bits; ++bin) bits[bin] += words[i] >> bin & 1;
    for (int bin = 0; bin < word_bits; ++bin) counts[bin] += worth * bits[bin];
}

/// How many are in each bin of a window. Not in line, where it would be vectorised only in part.
template <class Element>
NOINLINE void count_window(const float* RESTRICT values, int count, int lowest, Ahead<Element>& ahead,
                           int (&counts)[word_bits]) {
    constexpr int groups = stats_block / group;
    const auto marked = [&](float value) { return mark(value, lowest); };
    Digits small = {}, large = {};
    uint32_t eights[groups * lanes], sixty_fours[groups / rows * lanes];
    int done = 0;
    for (; (done + 1) * group <= count; ++done) {
        ahead.ask(group / 2);
        small.add_rows(values + done * group, eights + done * lanes, marked);
    }
    if (done * group < count) {
        float rest[group] = {};
        for (int i = done * group; i < count; ++i) rest[i - done * group] = values[i];
        small.add_rows(rest, eights + done++ * lanes, marked);
    }
    for (; done % rows; ++done)
        for (int i = 0; i < lanes; ++i) eights[done * lanes + i] = 0;
    for (int i = 0; i < done / rows; ++i)
        large.add_rows(eights + i * group, sixty_fours + i * lanes, [](uint32_t word) { return word; });
    add_bits(small.ones, 1, counts);
    add_bits(small.twos, 2, counts);
    add_bits(small.fours, 4, counts);
    add_bits(large.ones, 8, counts);
    add_bits(large.twos, 16, counts);
    add_bits(large.fours, 32, counts);
    for (int i = 0; i < done / rows; ++i) add_bits(sixty_fours + i * lanes, 64, counts);
}

/// The bins below the window, one number after the other. Neighbours are often alike, and a count must not wait for the
/// one before.
NOINLINE void count_below(const float* values, int count, int lowest, int64_t* histogram) {
    constexpr int copies = 4;
    uint16_t counts[copies][bins] = {};
    for (int i = 0; i < count; ++i) ++counts[i % copies][Bits<float>::bin(size_of_number(values[i]))];
    for (int bin = 0; bin < lowest; ++bin)
        for (int copy = 0; copy < copies; ++copy) histogram[bin] += counts[copy][bin];
}

/// All bins of a block, whose numbers are given by float32 with their exponents; `zeros` and `nonfinite` of them are in
/// none, and the largest is in bin `top`. Seldom is there a number 2^31 times smaller than that.
template <class Element>
FS_RULE void count_bins(const float* values, int count, int zeros, int nonfinite, int top, Ahead<Element>& ahead,
                        int64_t* histogram) {
    int left = count - zeros - nonfinite;
    if (left == 0) return;
    const int lowest = top < window ? 0 : top - (window - 1);
    int counts[word_bits] = {};
    count_window(values, count, lowest, ahead, counts);
    if (lowest == 0) counts[0] -= zeros + (group - count % group) % group;  // some were added at the end
    if (top == bins - 1) counts[window - 1] -= nonfinite;
    for (int i = 0; i < window; ++i) {
        histogram[lowest + i] += counts[i];
        left -= counts[i];
    }
    if (left > 0) {
        count_below(values, count, lowest, histogram);
        histogram[0] -= zeros;
    }
}

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
