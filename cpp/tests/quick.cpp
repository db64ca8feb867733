// Numbers whose roots and quotients are taken without a look: where they say that they are not odd, they have the bits
// of others.
#include "../cuda/quick.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "../rules/list.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;
using cuda::Quick;

bool is_odd(Quick x) { return x.odd > Quick::most; }
bool same(float x, float y) { return as<uint32_t>(x) == as<uint32_t>(y) || (x != x && y != y); }

/// Every significand, in both halves of a root's period; and what is odd.
void roots() {
    long wrong = 0;
    for (uint32_t bits = as<uint32_t>(1.f); bits < as<uint32_t>(4.f); ++bits) {
        const Quick root = square_root(Quick(as<float>(bits)));
        wrong += is_odd(root) || !same(root.value, std::sqrt(as<float>(bits)));
    }
    CHECK(wrong == 0);
    Random random(1);
    for (int i = 0; i < 2'000'000; ++i) {
        const auto x = as<float>(uint32_t(random.bits()));
        const Quick root = square_root(Quick(x));
        wrong +=
            is_odd(root) != !(x >= 0x1p-101f && x < INFINITY) || (!is_odd(root) && !same(root.value, std::sqrt(x)));
    }
    CHECK(wrong == 0);
}

/// Around the ends of what is not odd, too.
void quotients() {
    Random random(2);
    long wrong = 0, odd = 0, plain = 0;
    const auto number = [&](int least, int most) {
        const auto x = float(std::ldexp(1 + random.fraction(), least + int(random.below(most - least + 1))));
        return random.bits() & 1 ? x : -x;
    };
    for (int i = 0; i < 10'000'000; ++i) {
        const float x = number(-126, 126), y = number(-60, 75);
        const Quick quotient = Quick(x) / Quick(y);
        const float size = std::fabs(x / y);
        if (std::fabs(y) >= 0x1p-45f && std::fabs(y) < 0x1p68f && size >= 0x1p-53f && size < 0x1p60f) {
            ++plain;
            wrong += is_odd(quotient);
        }
        odd += is_odd(quotient);
        wrong += !is_odd(quotient) && !same(quotient.value, x / y);
    }
    CHECK(wrong == 0);
    CHECK(plain > 1'000'000 && odd > 1'000'000);
    for (int i = 0; i < 4'000'000; ++i) {
        const auto x = as<float>(uint32_t(random.bits())), y = as<float>(uint32_t(random.bits()));
        const Quick quotient = Quick(x) / Quick(y);
        wrong += !is_odd(quotient) && !same(quotient.value, x / y);
    }
    CHECK(wrong == 0);
    for (const float none : {0.f, -0.f, INFINITY, -INFINITY, NAN, 1e-40f})
        for (const auto& [x, y] : {std::pair(none, 2.f), std::pair(2.f, none), std::pair(none, none)})
            CHECK(is_odd(Quick(x) / Quick(y)));
    // What is behind an odd number is odd.
    const Quick odd_one(1.f, Quick::most + 1), one = 1;
    for (const Quick made :
         {odd_one + one, one - odd_one, odd_one * one, -odd_one, one / odd_one, odd_one / one, square_root(odd_one)})
        CHECK(is_odd(made));
    Quick less = one;
    less -= odd_one;
    CHECK(is_odd(less));
}

/// What a device may take for a number: off by less than one in the last place, or by a part of itself.
template <class Take>
void each_near(double truth, double most, Take take) {
    const auto nearest = as<uint32_t>(float(truth));
    for (uint32_t bits = nearest - 2; bits <= nearest + 2; ++bits)
        if (std::fabs(double(as<float>(bits)) - truth) <= most) take(as<float>(bits));
}

/// Of all that the approximation of a root may be, two are of no use.
void near_roots() {
    const double most = std::exp2(-22.9);
    long tried = 0, wrong = 0;
    for (uint32_t bits = as<uint32_t>(1.f); bits < as<uint32_t>(4.f); ++bits) {
        const auto x = as<float>(bits);
        const double truth = 1 / std::sqrt(double(x));
        each_near(truth, most * truth, [&](float about) {
            ++tried;
            wrong += !same(Quick::root_of(x, about), std::sqrt(x));
        });
    }
    CHECK(tried > 30'000'000);
    CHECK(wrong == 2);
}

/// n with n·a = 1 in the whole numbers below an odd one
uint64_t inverse_below(uint64_t odd, uint64_t a) {
    int64_t before = 0, now = 1;
    for (uint64_t rest = odd, next = a % odd; next;) {
        const uint64_t times = rest / next;
        before = std::exchange(now, before - int64_t(times) * now);
        rest = std::exchange(next, rest - times * next);
    }
    return uint64_t(before < 0 ? before + int64_t(odd) : before);
}

/// Quotients that lie as close as they can to the middle of two floats: in whole numbers, x·2^s is y·(2m + 1) + d for a
/// small d. Those further away are right with any inverse.
void near_quotients() {
    constexpr uint32_t one = 1 << 23;
    const auto float_of = [](uint64_t number) { return float(number) / one; };
    long tried = 0, wrong = 0;
    const auto look = [&](uint64_t dividend, uint64_t divisor) {
        const float x = float_of(dividend), y = float_of(divisor);
        each_near(1 / double(y), 0x1p-24, [&](float about) {
            ++tried;
            wrong += !same(Quick::divided(x, y, about), x / y);
        });
    };
    for (uint64_t y = one + 1; y < 2 * one; y += 10)
        for (const uint64_t power : {uint64_t(1) << 24, uint64_t(1) << 25}) {
            // The quotient of 24 bits is below 1 where x is below y, and of the next power then.
            const uint64_t begin = power == 1 << 24 ? y : one, end = power == 1 << 24 ? 2 * one : y;
            const uint64_t step = inverse_below(y, power);
            for (const uint64_t d : {uint64_t(1), uint64_t(3), y - 1, y - 3})
                for (uint64_t x = step * d % y; x < end; x += y)
                    if (x >= begin) look(x, y);
        }
    CHECK(tried > 2'000'000);
    CHECK(wrong == 0);
    look(one, 2 * one - 1);
    CHECK(wrong == 1);
}

/// A step of one element, from bits of every kind.
template <class Rule, size_t... i>
void agree(Random& random, std::index_sequence<i...>) {
    constexpr size_t count = sizeof(Rule) / sizeof(double), arrays = 2 + sizeof...(i);
    long compared = 0, wrong = 0;
    for (int round = 0; round < 100'000; ++round) {
        double numbers[count];
        for (double& number : numbers) number = random.fraction();
        float exact[arrays];
        for (float& x : exact) x = round % 4 ? random.number<float>() : as<float>(uint32_t(random.bits()));
        for (size_t n = 2; n < arrays; ++n)
            if (round % 8) exact[n] = std::fabs(exact[n]);
        Quick quick[arrays];
        std::copy(exact, exact + arrays, quick);
        rule_of<Rule, float>(numbers)(exact[0], exact[1], exact[2 + i]...);
        rule_of<Rule, Quick>(numbers)(quick[0], quick[1], quick[2 + i]...);
        if (std::any_of(quick, quick + arrays, is_odd)) continue;
        ++compared;
        for (size_t n = 0; n < arrays; ++n) wrong += !same(exact[n], quick[n].value);
    }
    CHECK(compared > 1000);
    CHECK(wrong == 0);
}

template <class... Rule>
void rules(List<Rule...>) {
    Random random(3);
    (agree<Rule>(random, std::make_index_sequence<Rule::states>()), ...);
}

}  // namespace

int main() {
    roots();
    quotients();
    near_roots();
    near_quotients();
    rules(Rules());
    return result();
}
