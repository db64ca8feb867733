// Numbers, predicates and bits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "forms.hpp"

namespace fusedstep::ptx {
namespace {

template <auto f, class D, class... A>
void apply(Warp& warp, const Instruction& in) {
    [&]<size_t... n>(std::index_sequence<n...>) {
        D* const to = warp.reg<D>(in.operand[0]);
        const auto from = std::tuple(static_cast<const A*>(warp.reg<A>(in.operand[n + 1]))...);
        at_once(warp.active, [&](int i) { to[i] = D(f(std::get<n>(from)[i]...)); });
    }(std::index_sequence_for<A...>());
}

template <auto f, class A>
void compare(Warp& warp, const Instruction& in) {
    const A *const a = warp.reg<A>(in.operand[1]), *const b = warp.reg<A>(in.operand[2]);
    Mask found = 0;
    for (int i = 0; i < lanes; ++i) found |= Mask(f(a[i], b[i])) << i;
    Mask& to = *warp.reg<Mask>(in.operand[0]);
    to = (to & ~warp.active) | (found & warp.active);
}

template <class T>
void select(Warp& warp, const Instruction& in) {
    T* const to = warp.reg<T>(in.operand[0]);
    const T *const a = warp.reg<T>(in.operand[1]), *const b = warp.reg<T>(in.operand[2]);
    const Mask mask = *warp.reg<Mask>(in.operand[3]);
    at_once(warp.active, [&](int i) { to[i] = mask >> i & 1 ? a[i] : b[i]; });
}

template <auto f, class... A>
void logic(Warp& warp, const Instruction& in) {
    [&]<size_t... n>(std::index_sequence<n...>) {
        const Mask found = f(*warp.reg<A>(in.operand[n + 1])...);
        Mask& to = *warp.reg<Mask>(in.operand[0]);
        to = (to & ~warp.active) | (found & warp.active);
    }(std::index_sequence_for<A...>());
}

template <class T>
constexpr uint32_t width = 8 * sizeof(T);

/// Wide enough to multiply in, and without a sign, so that nothing overflows.
template <class T>
using Wide = std::conditional_t<(sizeof(T) < 8), uint64_t, unsigned __int128>;

/// A float that is no number is this one on a device, whatever came in.
template <class T>
T canonical(T x) {
    if constexpr (sizeof(T) == 4) return x == x ? x : std::bit_cast<float>(0x7fffffff);
    return x;
}

// Names

std::string name(char kind, uint32_t width) {
    std::string made(1, kind);
    return made += std::to_string(width);
}
template <class T>
std::string name() {
    return name(std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 's' : 'u', width<T>);
}
template <class T>
char letter = char('0' + sizeof(T));

template <auto f, class D, class... A>
void add(Forms& forms, const std::string& name) {
    forms[name] = {apply<f, D, A...>, {letter<D>, letter<A>...}};
}
template <auto f, class T>
void add_compare(Forms& forms, const std::string& relation, const std::string& type) {
    forms["setp." + relation + "." + type] = {compare<f, T>, {'p', letter<T>, letter<T>}};
}

template <class T>
void add_relations(Forms& forms, const std::string& type) {
    add_compare<[](T a, T b) { return a == b; }, T>(forms, "eq", type);
    if constexpr (std::is_integral_v<T>) {
        add_compare<[](T a, T b) { return a != b; }, T>(forms, "ne", type);
        // Of numbers without a sign they have a second name
        for (const auto& [lt, le, gt, ge] : {std::array{"lt", "le", "gt", "ge"}, std::array{"lo", "ls", "hi", "hs"}}) {
            add_compare<[](T a, T b) { return a < b; }, T>(forms, lt, type);
            add_compare<[](T a, T b) { return a <= b; }, T>(forms, le, type);
            add_compare<[](T a, T b) { return (a > b); }, T>(forms, gt, type);
            add_compare<[](T a, T b) { return (a >= b); }, T>(forms, ge, type);
        }
    } else {
        add_compare<[](T a, T b) { return (a < b || a > b); }, T>(forms, "ne", type);
        add_compare<[](T a, T b) { return a < b; }, T>(forms, "lt", type);
        add_compare<[](T a, T b) { return a <= b; }, T>(forms, "le", type);
        add_compare<[](T a, T b) { return (a > b); }, T>(forms, "gt", type);
        add_compare<[](T a, T b) { return (a >= b); }, T>(forms, "ge", type);
        add_compare<[](T a, T b) { return !(a < b || a > b); }, T>(forms, "equ", type);
        add_compare<[](T a, T b) { return !(a == b); }, T>(forms, "neu", type);
        add_compare<[](T a, T b) { return !(a >= b); }, T>(forms, "ltu", type);
        add_compare<[](T a, T b) { return !(a > b); }, T>(forms, "leu", type);
        add_compare<[](T a, T b) { return !(a <= b); }, T>(forms, "gtu", type);
        add_compare<[](T a, T b) { return !(a < b); }, T>(forms, "geu", type);
        add_compare<[](T a, T b) { return a == a && b == b; }, T>(forms, "num", type);
        add_compare<[](T a, T b) { return !(a == a && b == b); }, T>(forms, "nan", type);
    }
}

template <class T>
void add_integer(Forms& forms) {
    using U = std::make_unsigned_t<T>;
    using W = Wide<T>;
    const std::string type = name<T>();
    add<[](U a, U b) { return W(a) + b; }, U, U, U>(forms, "add." + type);
    add<[](U a, U b) { return W(a) - b; }, U, U, U>(forms, "sub." + type);
    add<[](U a, U b) { return W(a) * b; }, U, U, U>(forms, "mul.lo." + type);
    add<[](U a, U b, U c) { return W(a) * b + c; }, U, U, U, U>(forms, "mad.lo." + type);
    add<[](T a, T b) { return ((W(a) * W(b)) >> width<T>); }, T, T, T>(forms, "mul.hi." + type);
    // A division by zero is not defined, nor is one that overflows: neither may end the process
    add<[](T a, T b) { return b == 0                              ? T(-1)
                              : std::is_signed_v<T> && b == T(-1) ? T(U(0) - U(a))
                                                                  : T(a / b); }, T, T,
        T>(forms, "div." + type);
    add<[](T a, T b) { return b == 0                              ? a
                              : std::is_signed_v<T> && b == T(-1) ? T(0)
                                                                  : T(a % b); }, T, T, T>(
        forms, "rem." + type);
    add<[](T a, T b) { return b < a ? b : a; }, T, T, T>(forms, "min." + type);
    add<[](T a, T b) { return a < b ? b : a; }, T, T, T>(forms, "max." + type);
    add<[](T a, uint32_t n) { return n < width<T> ? T(a >> n)
                                     : a < 0 ? T(-1)
                                             : T(0); }, T, T, uint32_t>(forms,
                                                                                                         "shr." + type);
    if constexpr (std::is_signed_v<T>) {
        add<[](U a) { return W(0) - a; }, U, U>(forms, "neg." + type);
        add<[](T a) { return a < 0 ? U(W(0) - W(a)) : U(a); }, U, T>(forms, "abs." + type);
    }
    if constexpr (sizeof(T) < 8) {
        using Twice = std::conditional_t<std::is_signed_v<T>, std::conditional_t<sizeof(T) == 2, int32_t, int64_t>,
                                         std::conditional_t<sizeof(T) == 2, uint32_t, uint64_t>>;
        add<[](T a, T b) { return Twice(a) * Twice(b); }, Twice, T, T>(forms, "mul.wide." + type);
        add<[](T a, T b, Twice c) { return W(Twice(a) * Twice(b)) + W(c); }, Twice, T, T, Twice>(forms,
                                                                                                 "mad.wide." + type);
    }
    add_relations<T>(forms, type);
}

template <class T>
void add_bits(Forms& forms) {
    const std::string type = name('b', width<T>);
    add<[](T a, T b) { return a & b; }, T, T, T>(forms, "and." + type);
    add<[](T a, T b) { return a | b; }, T, T, T>(forms, "or." + type);
    add<[](T a, T b) { return a ^ b; }, T, T, T>(forms, "xor." + type);
    add<[](T a) { return ~a; }, T, T>(forms, "not." + type);
    add<[](T a, uint32_t n) { return n < width<T> ? T(a << n) : T(0); }, T, T, uint32_t>(forms, "shl." + type);
    add<[](T a, uint32_t n) { return n < width<T> ? T(a >> n) : T(0); }, T, T, uint32_t>(forms, "shr." + type);
    add_relations<T>(forms, type);
    for (const char kind : {'b', 'u', 's', 'f'}) {
        const std::string own = name(kind, width<T>);
        forms["selp." + own] = {select<T>, {letter<T>, letter<T>, letter<T>, 'p'}};
        add<[](T a) { return a; }, T, T>(forms, "mov." + own);
    }
    if constexpr (sizeof(T) > 2) {
        add<[](T a) { return std::popcount(a); }, uint32_t, T>(forms, "popc." + type);
        add<[](T a) { return std::countl_zero(a); }, uint32_t, T>(forms, "clz." + type);
    }
}

/// The rules have none. Where one is meant, it has to come to the same as two operations.
float fused(float a, float b, float c) {
    const float one = canonical(std::fma(a, b, c)), two = canonical(a * b + c);
    if (std::bit_cast<uint32_t>(one) != std::bit_cast<uint32_t>(two))
        throw Fault("a fused multiply-add rounds otherwise than a product and a sum");
    return one;
}

/// Approximations flush what is subnormal. The nearest number stands for what a device finds.
float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.f, x) : x; }
float about_inverse(float x) { return canonical(flushed(1 / flushed(x))); }
float about_inverse_root(float x) { return canonical(float(1 / std::sqrt(double(flushed(x))))); }

/// Two numbers with a sign in the lower half of a word, each as a byte without one.
uint32_t packed(int32_t second, int32_t first, uint32_t above) {
    const auto byte = [](int32_t x) { return uint32_t(std::clamp(x, 0, 255)); };
    return above << 16 | byte(second) << 8 | byte(first);
}

template <class T>
void add_floating(Forms& forms) {
    const std::string type = name<T>();
    add<[](T a, T b) { return canonical(a + b); }, T, T, T>(forms, "add.rn." + type);
    add<[](T a, T b) { return canonical(a - b); }, T, T, T>(forms, "sub.rn." + type);
    add<[](T a, T b) { return canonical(a * b); }, T, T, T>(forms, "mul.rn." + type);
    add<[](T a, T b) { return canonical(a / b); }, T, T, T>(forms, "div.rn." + type);
    add<[](T a) { return canonical(T(1) / a); }, T, T>(forms, "rcp.rn." + type);
    add<[](T a) { return canonical(std::sqrt(a)); }, T, T>(forms, "sqrt.rn." + type);
    add<[](T a) { return -a; }, T, T>(forms, "neg." + type);
    add<[](T a) { return std::fabs(a); }, T, T>(forms, "abs." + type);
    // The one that is a number, and of zeros the one whose sign says so
    add<[](T a, T b) { return canonical(a < b || b != b || (a == b && std::signbit(a)) ? a : b); }, T, T, T>(
        forms, "min." + type);
    add<[](T a, T b) { return canonical(a > b || b != b || (a == b && std::signbit(b)) ? a : b); }, T, T, T>(
        forms, "max." + type);
    add_relations<T>(forms, type);
}

uint32_t permuted(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t all = uint64_t(b) << 32 | a;
    uint32_t made = 0;
    for (int i = 0; i < 4; ++i) {
        const uint32_t choice = selector >> 4 * i & 15, byte = uint32_t(all >> 8 * (choice & 7)) & 255;
        made |= (choice & 8 ? byte & 128 ? 255 : 0 : byte) << 8 * i;
    }
    return made;
}

/// So many bits, as far as there are as many.
template <class T>
T ones(uint32_t count) {
    return count < width<T> ? T((T(1) << count) - 1) : T(-1);
}
template <class T>
T inserted(T a, T into, uint32_t at, uint32_t count) {
    at &= 255;
    if (at >= width<T>) return into;
    const T mask = T(ones<T>(count & 255) << at);
    return (into & ~mask) | (T(a << at) & mask);
}
template <class T>
T extracted(T a, uint32_t at, uint32_t count) {
    at &= 255;
    return at < width<T> ? T(a >> at) & ones<T>(count & 255) : T(0);
}

}  // namespace

void add_arithmetic(Forms& forms) {
    add_integer<uint16_t>(forms);
    add_integer<int16_t>(forms);
    add_integer<uint32_t>(forms);
    add_integer<int32_t>(forms);
    add_integer<uint64_t>(forms);
    add_integer<int64_t>(forms);
    add_bits<uint16_t>(forms);
    add_bits<uint32_t>(forms);
    add_bits<uint64_t>(forms);
    add_floating<float>(forms);
    add<fused, float, float, float, float>(forms, "fma.rn.f32");
    // What is written out as this is meant, whatever it comes to
    add<[](float a, float b, float c) { return canonical(std::fma(a, b, c)); }, float, float, float, float>(
        forms, "mad.rn.f32");
    add<about_inverse, float, float>(forms, "rcp.approx.ftz.f32");
    add<about_inverse_root, float, float>(forms, "rsqrt.approx.ftz.f32");
    add_floating<double>(forms);
    add<inserted<uint32_t>, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>(forms, "bfi.b32");
    add<inserted<uint64_t>, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t>(forms, "bfi.b64");
    add<extracted<uint32_t>, uint32_t, uint32_t, uint32_t, uint32_t>(forms, "bfe.u32");
    add<extracted<uint64_t>, uint64_t, uint64_t, uint32_t, uint32_t>(forms, "bfe.u64");
    add<packed, uint32_t, int32_t, int32_t, uint32_t>(forms, "cvt.pack.sat.u8.s32.b32");
    add<permuted, uint32_t, uint32_t, uint32_t, uint32_t>(forms, "prmt.b32");
    add<[](uint32_t low, uint32_t high, uint32_t n) {
        return uint32_t((uint64_t(high) << 32 | low) << (n & 31) >> 32);
    },
        uint32_t, uint32_t, uint32_t, uint32_t>(forms, "shf.l.wrap.b32");
    add<[](uint32_t low, uint32_t high, uint32_t n) { return uint32_t((uint64_t(high) << 32 | low) >> (n & 31)); },
        uint32_t, uint32_t, uint32_t, uint32_t>(forms, "shf.r.wrap.b32");

    forms["and.pred"] = {logic<[](Mask a, Mask b) { return a & b; }, Mask, Mask>, "ppp"};
    forms["or.pred"] = {logic<[](Mask a, Mask b) { return a | b; }, Mask, Mask>, "ppp"};
    forms["xor.pred"] = {logic<[](Mask a, Mask b) { return a ^ b; }, Mask, Mask>, "ppp"};
    forms["not.pred"] = {logic<[](Mask a) { return ~a; }, Mask>, "pp"};
    forms["mov.pred"] = {logic<[](Mask a) { return a; }, Mask>, "pp"};
}

}  // namespace fusedstep::ptx
