// The sum of a block's squares, in double. Compiled once per target, under the conditions of loops.hpp.
#include "../kernel/target.hpp"
#include "../storage/number.hpp"
#include "ahead.hpp"
#include "lanes.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

template <class Format>
double squares(const void* array, int64_t count) {
    using Element = typename Format::Element;
    const auto* const values = static_cast<const Element*>(array);
    Ahead ahead(values, Ahead<Element>::page);
    double sums[lanes] = {};
    each_row(
        int(count),
        [&](const Element* row) IN_LINE {
            ahead.ask(lanes);
            for (int lane = 0; lane < lanes; ++lane) {
                const double x = Format::widen(row[lane]);
                sums[lane] = plus_square<Format>(sums[lane], x);
            }
        },
        values);
    return total(sums);
}

}  // namespace

extern constinit const Norms norms;
constinit const Norms norms = {squares<Single>, squares<Double>, squares<Half<Float16>>, squares<Half<BFloat16>>};

}  // namespace fusedstep::FUSEDSTEP_TARGET
