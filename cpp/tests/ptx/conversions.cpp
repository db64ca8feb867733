// From one type to another. Registers may be wider than their numbers.
#include <cmath>
#include <limits>
#include <type_traits>

#include "forms.hpp"

namespace fusedstep::ptx {
namespace {

template <auto f, class To, class From>
void convert(Warp& warp, const Instruction& in) {
    const std::byte* const from = warp.reg<std::byte>(in.operand[1]);
    std::byte* const to = warp.reg<std::byte>(in.operand[0]);
    if (in.stride[0] == sizeof(To) && in.stride[1] == sizeof(From)) {
        const From* const a = warp.reg<From>(in.operand[1]);
        To* const made = warp.reg<To>(in.operand[0]);
        at_once(warp.active, [&](int i) { made[i] = f(a[i]); });
        return;
    }
    at_once(warp.active, [&](int i) {
        From a;
        std::memcpy(&a, from + i * in.stride[1], sizeof(From));
        const To made = f(a);
        if constexpr (std::is_integral_v<To>) {
            const int64_t extended = int64_t(made);
            std::memcpy(to + i * in.stride[0], &extended, in.stride[0]);
        } else {
            std::memcpy(to + i * in.stride[0], &made, sizeof(To));
        }
    });
}

template <class T>
std::string name() {
    std::string made(1, std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 's' : 'u');
    return made += std::to_string(8 * sizeof(T));
}

template <auto f, class To, class From>
void add(Forms& forms, const std::string& rounding) {
    forms["cvt." + rounding + name<To>() + "." + name<From>()] = {convert<f, To, From>, "dr", sizeof(From)};
}

/// The nearest whole number that there is; none becomes zero.
template <class To, class From>
To whole(From x) {
    if (x != x) return 0;
    constexpr From above = From(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (x >= above) return std::numeric_limits<To>::max();
    if (x <= From(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    return To(x);
}

float narrowed(double x) { return x == x ? float(x) : std::bit_cast<float>(0x7fffffff); }

template <class To, class From>
void add_one(Forms& forms) {
    constexpr bool to_floating = std::is_floating_point_v<To>, from_floating = std::is_floating_point_v<From>;
    if constexpr (!to_floating && !from_floating) {
        add<[](From x) { return To(x); }, To, From>(forms, "");
    } else if constexpr (!from_floating) {
        add<[](From x) { return To(x); }, To, From>(forms, "rn.");
    } else if constexpr (!to_floating) {
        add<[](From x) { return whole<To>(std::trunc(x)); }, To, From>(forms, "rzi.");
        add<[](From x) { return whole<To>(std::nearbyint(x)); }, To, From>(forms, "rni.");
        add<[](From x) { return whole<To>(std::floor(x)); }, To, From>(forms, "rmi.");
        add<[](From x) { return whole<To>(std::ceil(x)); }, To, From>(forms, "rpi.");
    } else if constexpr (sizeof(To) > sizeof(From)) {
        add<[](From x) { return To(x); }, To, From>(forms, "");
    } else if constexpr (sizeof(To) < sizeof(From)) {
        add<narrowed, To, From>(forms, "rn.");
    }
}

template <class... T>
struct Types {};

template <class To, class... From>
void add_all(Forms& forms, Types<From...>) {
    (add_one<To, From>(forms), ...);
}

}  // namespace

void add_conversions(Forms& forms) {
    [&]<class... To>(Types<To...> types) {
        (add_all<To>(forms, types), ...);
    }(Types<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t, float, double>());
}

}  // namespace fusedstep::ptx
