// The contract of a rule: one formula for one element, and nothing else.
//
// A rule is an aggregate of numbers (its coefficients, all of one type) with
//
//     static constexpr int states;                      how many state values an element has
//     static constexpr unsigned slow;                   a bit for each that a step changes by so little that rounding
//                                                       to nearest would leave it where it is
//     static constexpr unsigned signs;                  a bit for each that may be below zero
//     void operator()(Real& param, Real grad, Real&... state) const;
//
// Only + - * /, square root, comparison and selection may stand in it: IEEE 754 rounds them correctly on every
// machine, which is what makes the results the same bits everywhere. What comes of a quotient or a root is not
// compared: a GPU may know only later that it has to look again (cuda/quick.hpp). Coefficients are computed in double
// and rounded to Real once, so a rule is written for double and `In<Rule, float>` is the same rule in float.
#pragma once

#include <math.h>
#include <stddef.h>
#include <string.h>

// The element functions leave no symbol behind: objects compiled for different instruction sets can be linked
// together only if they share no code. Where there is but one set, `inline` compiles in a fifth of the time.
#ifndef FS_RULE
#if defined(__CUDACC__)
#define FS_RULE __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define FS_RULE __forceinline
#else
#define FS_RULE inline __attribute__((always_inline))
#endif
#endif

// What is computed once per step, and a GPU computes for itself where the processor cannot know the step.
#ifdef __CUDACC__
#define FS_ANYWHERE __host__ __device__
#else
#define FS_ANYWHERE
#endif

#ifdef _MSC_VER
#define FS_PART [[msvc::no_unique_address]]
#else
#define FS_PART [[no_unique_address]]
#endif

namespace fusedstep {

FS_RULE float square_root(float x) { return ::sqrtf(x); }
FS_RULE double square_root(double x) { return ::sqrt(x); }

/// The larger of two; a NaN on either side stays.
template <class Real>
FS_RULE Real larger(Real x, Real y) {
    return x >= y || x != x ? x : y;
}

template <class Real>
FS_RULE Real magnitude(Real x) {
    return x < 0 ? -x : x;
}

/// -1, 0 or 1; zero and NaN are returned as they came.
template <class Real>
FS_RULE Real sign(Real x) {
    return x > 0 ? Real(1) : x < 0 ? Real(-1) : x;
}

/// Weight decay, which stands before every rule: g ← g + decay·θ where it is coupled, otherwise θ ← decay·θ.
template <bool coupled, class Real>
FS_RULE void apply_decay(Real& param, Real& grad, Real decay) {
    if constexpr (coupled)
        grad = grad + decay * param;
    else
        param = decay * param;
}

/// The same rule, its parts and their numbers, with another type of number.
template <class Rule, class Real>
struct Rebind;
template <class Real>
struct Rebind<double, Real> {
    using type = Real;
};
template <template <class...> class Rule, class... Part, class Real>
struct Rebind<Rule<Part...>, Real> {
    using type = Rule<typename Rebind<Part, Real>::type...>;
};
template <class Rule, class Real>
using In = typename Rebind<Rule, Real>::type;

/// A rule with its numbers, which are rounded here, once: a method makes them in double.
template <class Rule, class Real, class Number>
FS_RULE In<Rule, Real> rule_of(const Number* numbers) {
    constexpr size_t count = sizeof(Rule) / sizeof(double);
    static_assert(sizeof(In<Rule, Real>) == count * sizeof(Real), "a rule is an aggregate of numbers");
    Real rounded[count];
    for (size_t i = 0; i < count; ++i) rounded[i] = Real(numbers[i]);
    In<Rule, Real> rule;
    memcpy(&rule, rounded, sizeof(rule));
    return rule;
}

}  // namespace fusedstep
