// Powers in double-double against values from mpmath at 400 bits, rounded to double.
#include "../methods/power.hpp"

#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "../methods/radam.hpp"
#include "check.hpp"

namespace {

using fusedstep::DoubleDouble;
using fusedstep::Power;

struct Row {
    double beta;
    int64_t t;
    double correction;  ///< 1 − βᵗ
};

constexpr double near = 1 - 0x1p-24, nearest = 1 - 0x1p-53;

constexpr Row rows[] = {
    {0, 1, 1},
    {0, int64_t(1) << 62, 1},
    {0.5, 1, 0.5},
    {0.5, 10, 0x1.ff8p-1},
    {0.5, 2047, 1},
    {0.9, 1, 0x1.9999999999998p-4},
    {0.9, 3, 0x1.15810624dd2f1p-2},
    {0.9, 10, 0x1.4d7a04fde6814p-1},
    {0.9, 100, 0x1.fffc84bf52257p-1},
    {0.9, 255, 0x1.fffffffffb475p-1},
    {0.99, 255, 0x1.d88834586ac05p-1},
    {0.99, 2047, 0x1.fffffff604842p-1},
    {0.999, 1, 0x1.0624dd2f1aap-10},
    {0.999, 10, 0x1.463598f6a4753p-7},
    {0.999, 100, 0x1.85f8ab6781055p-4},
    {0.999, 2047, 0x1.bdf51633bd8dbp-1},
    {near, 1, 0x1p-24},
    {near, 3, 0x1.7ffffe8000008p-23},
    {near, 255, 0x1.fdff02fe5358fp-17},
    {near, 2047, 0x1.ffb80315052e9p-14},
    {near, (1 << 24) + 1, 0x1.43a54f6920909p-1},
    {near, INT32_MAX, 1},
    {nearest, 2, 0x1p-52},
    {nearest, 100, 0x1.8ffffffffffd9p-47},
    {nearest, (1 << 24) + 1, 0x1.000000fcp-29},
    {nearest, INT32_MAX, 0x1.fffffbfc00057p-23},
    {nearest, int64_t(1) << 40, 0x1.fff80015552abp-14},
};

/// The distance of two positive doubles, in units of the last place.
int64_t ulps(double x, double y) {
    int64_t a, b;
    std::memcpy(&a, &x, sizeof(a));
    std::memcpy(&b, &y, sizeof(b));
    return a < b ? b - a : a - b;
}

struct Length {
    double beta;
    int64_t t;
    double rho;
};

// ρ_t of RAdam, from mpmath as well.
constexpr Length lengths[] = {
    {0.5, 2, 0x1.aaaaaaaaaaaabp+0},   {0.5, 100, 0x1.8000000p+1},           {0.9, 5, 0x1.2528170e18cb0p+2},
    {0.9, 100, 0x1.2fea3d85e0badp+4}, {0.99, 6, 0x1.7c3f8406b86e1p+2},      {0.999, 5, 0x1.3fbe6e65a6cd3p+2},
    {0.999, 6, 0x1.7fa061000efe4p+2}, {0.999, 2047, 0x1.5c2d94286f356p+10}, {0.999, 16777217, 0x1.f3bfffffffff8p+10},
    {near, 2, 0x1.ffffff7fffffcp+0},  {near, 6, 0x1.7ffffe8aaaa9fp+2},      {near, 16777217, 0x1.ac0e4d860f72cp+23},
};

}  // namespace

int main() {
    for (const Row& row : rows) CHECK(ulps(double(Power(row.beta).correction(row.t)), row.correction) <= 1);

    // What is remembered of a decay rate depends neither on the order in which steps come, nor on what else is asked
    // for between them, nor on the thread.
    constexpr int most = 300, others = 20;
    const auto power = [](int i, int t) { return double(Power(0.9 + 0.001 * i).at(t)); };
    std::vector<double> late(most);
    for (int t = most - 1; t >= 1; --t) late[size_t(t)] = power(0, t);
    for (int t = 1; t < most; ++t) {
        CHECK(power(0, t) == late[size_t(t)]);
        for (int i = 1; i < others; ++i) CHECK(power(i, t) < 1 && power(i, t) > late[size_t(t)]);
    }
    std::thread([&] {
        for (int t = 1; t < most; ++t) CHECK(power(0, t) == late[size_t(t)]);
    }).join();

    CHECK(Power(0.9).beta() == 0.9 && Power(0.9).rest() == 1 - 0.9 && double(Power(0.9).at(0)) == 1);

    for (const double x : {0., -1e-300, -1e-9, -0.0625, -0.1, -0.5, -1., -7., -100., -700.})
        CHECK(ulps(double(exponential(DoubleDouble{x})), std::exp(x)) <= 1);

    for (const Length& length : lengths) {
        fusedstep::method::RAdam radam;
        radam.beta2 = Power(length.beta);
        CHECK(ulps(radam.rho_at(length.t), length.rho) <= 1);
    }
    return result();
}
