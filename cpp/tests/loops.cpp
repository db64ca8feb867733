// Every loop of every target against a plain loop over the same rule, which the compiler makes from this file with its
// baseline flags: all rules, types and decays, at every size around vectors and blocks, at even and odd places.
#include <cstring>
#include <utility>
#include <vector>

#include "../cpu/targets.hpp"
#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

/// Elements before and behind the loop's stretch, which it must leave alone.
constexpr int64_t margin = 9;

constexpr int64_t sizes_to = 70;
constexpr int64_t more_sizes[] = {127, 128, 129, 257, 4080, 4095, 4096, 4097, 4111};

/// The arrays of one tensor: parameter, gradient, states.
template <class Real>
struct Arrays {
    std::vector<Real> array[2 + Buffers::most_states];

    Arrays(Random& random, int64_t size) {
        for (auto& values : array) {
            values.resize(size_t(size));
            for (Real& value : values) value = random.number<Real>();
        }
        // Averages of squares: a root of a negative number is NaN and would hide what follows.
        for (int state = 0; state < Buffers::most_states; ++state)
            for (Real& value : array[2 + state])
                if (random.below(10) != 0) value = std::fabs(value);
    }

    Buffers buffers() {
        Buffers made{array[0].data(), array[1].data(), {}};
        for (int state = 0; state < Buffers::most_states; ++state) made.state[state] = array[2 + state].data();
        return made;
    }

    bool operator==(const Arrays& other) const {
        for (int i = 0; i < 2 + Buffers::most_states; ++i)
            for (size_t j = 0; j < array[i].size(); ++j) {
                const Real a = array[i][j], b = other.array[i][j];
                if (std::memcmp(&a, &b, sizeof(a)) != 0 && !(a != a && b != b)) return false;
            }
        return true;
    }
};

template <class Real>
using Plain = void (*)(const double* numbers, const Border& border, Arrays<Real>& arrays, int64_t begin, int64_t end);

template <class Rule, class Real, bool coupled, size_t... state>
void plain(const double* numbers, const Border& border, Arrays<Real>& arrays, int64_t begin, int64_t end) {
    constexpr size_t count = sizeof(Rule) / sizeof(double);
    Real rounded[count];
    for (size_t i = 0; i < count; ++i) rounded[i] = Real(numbers[i]);
    In<Rule, Real> rule;
    std::memcpy(&rule, rounded, sizeof(rule));
    for (int64_t i = begin; i < end; ++i) {
        Real& param = arrays.array[0][size_t(i)];
        Real grad = Real(border.sign) * arrays.array[1][size_t(i)];
        if (coupled)
            grad = grad + Real(border.coupled) * param;
        else
            param = Real(border.shrink) * param;
        rule(param, grad, arrays.array[2 + state][size_t(i)]...);
    }
}

template <class Real>
void compare(int row, size_t count, bool coupled, Plain<Real> loop, int64_t size, Random& random) {
    const Type type = sizeof(Real) == 4 ? Type::float32 : Type::float64;
    double numbers[12];
    for (double& number : numbers) number = 0.1 + 0.85 * random.fraction();
    // The last number of a rule with a window says whether its round closes.
    if (count > 1 && random.bits() & 1) numbers[count - 1] = 0;
    const Border border{random.bits() & 1 ? -1.0 : 1.0, coupled ? 0.3 : 0, coupled ? 1 : 0.9};
    const int64_t begin = margin + random.below(5), end = begin + size;

    const Arrays<Real> before(random, end + margin);
    Arrays<Real> expected = before;
    loop(numbers, border, expected, begin, end);
    CHECK(size < 8 || !(expected == before));
    for (const Target* target : cpu::built_targets()) {
        if (!cpu::runs(*target)) continue;
        Arrays<Real> actual = before;
        target->loops[row][int(type)][coupled](numbers, border, actual.buffers(), begin, end);
        CHECK(actual == expected);
    }
}

template <class Rule, size_t... state>
void compare_all(int row, int64_t size, Random& random, std::index_sequence<state...>) {
    constexpr size_t count = sizeof(Rule) / sizeof(double);
    compare<float>(row, count, false, plain<Rule, float, false, state...>, size, random);
    compare<float>(row, count, true, plain<Rule, float, true, state...>, size, random);
    compare<double>(row, count, false, plain<Rule, double, false, state...>, size, random);
    compare<double>(row, count, true, plain<Rule, double, true, state...>, size, random);
}

template <class... Rule>
void every_rule(List<Rule...>, int64_t size, Random& random) {
    int row = 0;
    (compare_all<Rule>(row++, size, random, std::make_index_sequence<Rule::states>()), ...);
    CHECK(row == Rules::size);
}

/// A closed round: each plane but the first and the last gets the sum of itself and all after it.
template <class Real>
void folds(Type type, Random& random) {
    for (int64_t planes = 1; planes <= 5; ++planes)
        for (const int64_t size : {1, 7, 16, 65, 300}) {
            const int64_t stride = size + 2 * margin, begin = margin, end = margin + size;
            std::vector<Real> before(size_t(planes * stride));
            for (Real& value : before) value = Real(random.below(1000));  // whole numbers: sums are exact
            std::vector<Real> expected = before;
            for (int64_t plane = 1; plane < planes; ++plane)
                for (int64_t later = plane + 1; later < planes; ++later)
                    for (int64_t i = begin; i < end; ++i)
                        expected[size_t(plane * stride + i)] += before[size_t(later * stride + i)];
            for (const Target* target : cpu::built_targets()) {
                if (!cpu::runs(*target)) continue;
                std::vector<Real> actual = before;
                target->folds[int(type)]({actual.data(), stride, planes}, begin, end);
                CHECK(actual == expected);
            }
        }
}

}  // namespace

int main() {
    Random random(1);
    for (int64_t size = 0; size <= sizes_to; ++size) every_rule(Rules(), size, random);
    for (const int64_t size : more_sizes) every_rule(Rules(), size, random);
    folds<float>(Type::float32, random);
    folds<double>(Type::float64, random);
    return result();
}
