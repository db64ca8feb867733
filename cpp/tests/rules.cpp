// What the functions under the rules do with NaN, with zeros and with infinity: there a wrong comparison shows first.
#include <cmath>
#include <limits>

#include "../rules/list.hpp"
#include "check.hpp"

namespace {

using namespace fusedstep;

template <class Real>
void selections() {
    constexpr Real inf = std::numeric_limits<Real>::infinity(), nan = std::numeric_limits<Real>::quiet_NaN();
    constexpr Real least = std::numeric_limits<Real>::denorm_min();

    CHECK(larger(Real(2), Real(1)) == 2 && larger(Real(1), Real(2)) == 2);
    CHECK(larger(Real(-1), Real(-2)) == -1 && larger(-inf, least) == least && larger(Real(1), inf) == inf);
    CHECK(std::isnan(larger(nan, Real(1))) && std::isnan(larger(Real(1), nan)));
    CHECK(std::isnan(larger(nan, inf)) && std::isnan(larger(-inf, nan)));

    CHECK(magnitude(Real(-3)) == 3 && magnitude(Real(3)) == 3 && magnitude(-inf) == inf && magnitude(-least) == least);
    CHECK(magnitude(Real(0)) == 0 && std::isnan(magnitude(nan)));

    CHECK(sign(least) == 1 && sign(-least) == -1 && sign(inf) == 1 && sign(-inf) == -1);
    CHECK(sign(Real(0)) == 0 && std::signbit(sign(Real(-0.0))) && !std::signbit(sign(Real(0))));
    CHECK(std::isnan(sign(nan)));

    CHECK(square_root(Real(2.25)) == Real(1.5) && std::isnan(square_root(Real(-1))));
}

/// A centered variance that rounding has made negative counts as 0, and NaN stays NaN.
template <class Real>
void variance_below_zero() {
    const Centered<Real> psi{1, 0, {0, 1, Real(0.5)}};
    Real v = 1, mean = 2;
    CHECK(psi(Real(3), Real(0), v, mean) == 6);
    v = std::numeric_limits<Real>::quiet_NaN();
    CHECK(std::isnan(psi(Real(3), Real(0), v, mean)));
}

/// Where the sum is 0, an infinite `at_zero` makes the step 0, and elsewhere it has no part.
template <class Real>
void step_at_zero() {
    const Sum<Real> psi{{0, 1, 0}, std::numeric_limits<Real>::infinity()};
    Real v = 0;
    CHECK(psi(Real(1), Real(0), v) == 0);
    CHECK(psi(Real(1), Real(4), v) == Real(0.25) && v == 16);
}

}  // namespace

int main() {
    selections<float>();
    selections<double>();
    variance_below_zero<float>();
    variance_below_zero<double>();
    step_at_zero<float>();
    step_at_zero<double>();
    return result();
}
