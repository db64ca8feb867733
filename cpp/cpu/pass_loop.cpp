// The pass: a tile of elements at a time is brought into the cache's first level in the type that the rule calculates
// in, stepped by the rule's loop, and brought back. What else a step does to these elements happens while they are
// there. Compiled once per target, under the conditions of loops.hpp.
#include "../kernel/target.hpp"
#include "../rules/stage.hpp"
#include "../storage/bfloat16.hpp"
#include "../storage/float16.hpp"
#include "../storage/float32.hpp"
#include "../storage/pair.hpp"
#include "codes.hpp"
#include "loops.hpp"
#include "tile.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

template <class To, class From>
FS_RULE void convert(To* RESTRICT to, const From* RESTRICT from, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = To(from[i]);
}

template <class Half, class Real>
FS_RULE void widen(Real* RESTRICT to, const uint16_t* RESTRICT from, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = Real(Half::widen(from[i]));
}

template <class Half, class Real>
FS_RULE void narrow(uint16_t* RESTRICT to, const Real* RESTRICT from, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = Half::nearest(float(from[i]));
}

template <class Half, class Real>
FS_RULE void narrow(uint16_t* RESTRICT to, const Real* RESTRICT from, int count, Draws draws) {
    INDEPENDENT
    for (int i = 0; i < count; ++i, draws.advance()) to[i] = Half::stochastic(float(from[i]), draws.bits());
}

/// The stored half is the nearest, and a second array of the type has what it lacks.
template <class Half>
FS_RULE void widen_both(float* RESTRICT to, const uint16_t* RESTRICT from, const uint16_t* RESTRICT rest, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = Pair<Half>::join(from[i], rest[i]);
}

template <class Half>
FS_RULE void narrow_both(uint16_t* RESTRICT to, uint16_t* RESTRICT rest, const float* RESTRICT from, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) {
        to[i] = Half::nearest(from[i]);
        rest[i] = Pair<Half>::rest(from[i], to[i]);
    }
}

FS_RULE void join(float* RESTRICT to, const uint16_t* RESTRICT from, const int16_t* RESTRICT rest, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = BFloat16::join(from[i], rest[i]);
}

FS_RULE void split(uint16_t* RESTRICT to, int16_t* RESTRICT rest, const float* RESTRICT from, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) {
        to[i] = BFloat16::upper(from[i]);
        rest[i] = BFloat16::rest(from[i]);
    }
}

FS_RULE void narrow(float* RESTRICT to, const double* RESTRICT from, int count, Draws draws) {
    INDEPENDENT
    for (int i = 0; i < count; ++i, draws.advance()) to[i] = Float32::stochastic(from[i], draws.bits());
}

template <class Real>
FS_RULE void load(Real* to, const void* array, const Format& format, const Place& place, Next& next) {
    const int64_t from = place.from;
    const int count = place.count;
    switch (format.type) {
        case Type::float32: return convert(to, static_cast<const float*>(array) + from, count);
        case Type::float64: return convert(to, static_cast<const double*>(array) + from, count);
        case Type::code8: {
            const auto* scales = static_cast<const float*>(format.rest) + from / Code8::block;
            if (format.is_signed)
                return decode<SignedCode8>(to, static_cast<const int8_t*>(array) + from, scales, count, next);
            return decode<UnsignedCode8>(to, static_cast<const uint8_t*>(array) + from, scales, count, next);
        }
        default: break;
    }
    const auto* halves = static_cast<const uint16_t*>(array) + from;
    const auto* rest = format.rest ? static_cast<const uint16_t*>(format.rest) + from : nullptr;
    if constexpr (sizeof(Real) == sizeof(float)) {
        if (format.rounding == Rounding::remainder)
            return join(to, halves, reinterpret_cast<const int16_t*>(rest), count);
        if (format.rounding == Rounding::kahan)
            return format.type == Type::bfloat16 ? widen_both<BFloat16>(to, halves, rest, count)
                                                 : widen_both<Float16>(to, halves, rest, count);
    }
    return format.type == Type::bfloat16 ? widen<BFloat16>(to, halves, count) : widen<Float16>(to, halves, count);
}

template <class Half, class Real>
FS_RULE void store(uint16_t* to, uint16_t* rest, const Real* from, const Format& format, const Place& place) {
    if constexpr (sizeof(Real) == sizeof(float))
        if (format.rounding == Rounding::kahan) return narrow_both<Half>(to, rest, from, place.count);
    if (format.rounding == Rounding::stochastic) return narrow<Half>(to, from, place.count, place.draws(format.draw));
    narrow<Half>(to, from, place.count);
}

template <class Real>
FS_RULE void store(void* array, const Real* from, const Format& format, const Place& place, Next& next) {
    const int64_t at = place.from;
    switch (format.type) {
        case Type::float32:
            if constexpr (sizeof(Real) == sizeof(double))
                if (format.rounding == Rounding::stochastic)
                    return narrow(static_cast<float*>(array) + at, from, place.count, place.draws(format.draw));
            return convert(static_cast<float*>(array) + at, from, place.count);
        case Type::float64: return convert(static_cast<double*>(array) + at, from, place.count);
        case Type::code8: {
            auto* scales = static_cast<float*>(format.rest) + at / Code8::block;
            if (format.is_signed)
                return encode<SignedCode8>(format, static_cast<int8_t*>(array) + at, scales, from, place, next);
            return encode<UnsignedCode8>(format, static_cast<uint8_t*>(array) + at, scales, from, place, next);
        }
        default: break;
    }
    auto* halves = static_cast<uint16_t*>(array) + at;
    auto* rest = format.rest ? static_cast<uint16_t*>(format.rest) + at : nullptr;
    if constexpr (sizeof(Real) == sizeof(float))
        if (format.rounding == Rounding::remainder)
            return split(halves, reinterpret_cast<int16_t*>(rest), from, place.count);
    return format.type == Type::bfloat16 ? store<BFloat16>(halves, rest, from, format, place)
                                         : store<Float16>(halves, rest, from, format, place);
}

template <class Real>
FS_RULE void flush(Real* RESTRICT values, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) values[i] = flushed(values[i]);
}

/// From an array, or where they are.
template <class Real>
FS_RULE void touch(Real* to, const Real* from, const Touch<Real> touched, int count) {
    INDEPENDENT
    for (int i = 0; i < count; ++i) to[i] = touched(from[i]);
}

template <class Real>
FS_RULE void average(Real* RESTRICT average, const Real* RESTRICT values, double decay, int count) {
    const Averaging<Real> averaged(decay);
    INDEPENDENT
    for (int i = 0; i < count; ++i) average[i] = averaged(average[i], values[i]);
}

template <class Real>
constexpr Type own = sizeof(Real) == sizeof(float) ? Type::float32 : Type::float64;

/// Whether the loop of halves does all that is to be done.
FS_RULE bool all_halves(const Target& target, const Work& work) {
    const Cargo& cargo = *work.cargo;
    if (cargo.carries()) return false;
    if (cargo.param.type != Type::bfloat16 || cargo.grad.type != Type::bfloat16) return false;
    if (cargo.param.split()) return false;
    const unsigned slow = target.halves->slow[work.update->rule];
    for (int i = 0; i < Buffers::most_states && work.buffers.state[i]; ++i) {
        const Rounding rounding = slow >> i & 1 ? Rounding::stochastic : Rounding::nearest;
        if (cargo.state[i].type != Type::bfloat16 || cargo.state[i].rounding != rounding) return false;
    }
    return true;
}

FS_RULE void run_halves(const Target& target, const Work& work, int64_t begin, int64_t end) {
    /// Within such a stretch the upper half of an element's number does not change.
    constexpr int64_t stretch = 1 << 20;
    const Cargo& cargo = *work.cargo;
    const bool random = cargo.param.rounding == Rounding::stochastic;
    const HalfLoop loop = target.halves->loops[work.update->rule][work.border.coupled != 0][random];
    Border border = work.border;
    border.sign *= cargo.factor;
    for (int64_t from = begin; from < end;) {
        const int64_t number = work.offset + from, left = end - from, whole = stretch - number % stretch;
        const int64_t count = left < whole ? left : whole;
        uint32_t keys[1 + Buffers::most_states];
        for (int draw = 0; draw <= Buffers::most_states; ++draw) keys[draw] = Place{cargo, from, number, 0}.key(draw);
        loop(work.update->numbers, border, work.buffers, keys, uint32_t(number), from, from + count);
        from += count;
    }
}

template <class Real>
void pass(const Target& target, const Work& work, int64_t begin, int64_t end) {
    if (all_halves(target, work)) return run_halves(target, work, begin, end);
    const Loop loop = target.loops[work.update->rule][int(work.type)][work.border.coupled != 0];
    alignas(64) Real params[tile], grads[tile], states[Buffers::most_states][tile];
    const Cargo& cargo = *work.cargo;
    const Buffers& arrays = work.buffers;
    const auto is_own = [](const Format& format) { return format.type == own<Real>; };
    const auto in = [](void* array, int64_t from) { return static_cast<Real*>(array) + from; };
    const Touch<Real> touched(cargo.factor, cargo.clip_value, cargo.flush_denormals);
    Border border = work.border;
    if (!cargo.touches()) border.sign *= cargo.factor;  // as for a tensor without cargo

    // Behind its other states a window sees two planes of its ring, which stay as they are.
    int own_states = work.update->window ? -2 : 0;
    for (void* const state : arrays.state) own_states += state != nullptr;
    int codes = 0;
    for (const Format& state : cargo.state) codes += state.type == Type::code8;

    int64_t number = work.offset + begin;
    for (int64_t from = begin; from < end;) {
        // Tiles end at multiples of their size in the whole tensor, as blocks of codes do.
        const int64_t left = end - from, whole = tile - number % tile;
        const Place place{cargo, from, number, int(left < whole ? left : whole)};
        Next next(arrays, cargo, from + place.count, Next::share(codes));
        Buffers here;

        here.param = is_own(cargo.param) ? in(arrays.param, from) : params;
        if (!is_own(cargo.param)) load(params, arrays.param, cargo.param, place, next);

        here.grad = is_own(cargo.grad) ? static_cast<const Real*>(arrays.grad) + from : grads;
        if (!is_own(cargo.grad)) load(grads, arrays.grad, cargo.grad, place, next);
        if (cargo.touches()) {
            touch(grads, static_cast<const Real*>(here.grad), touched, place.count);
            here.grad = grads;
        }

        for (int i = 0; i < Buffers::most_states && arrays.state[i]; ++i) {
            here.state[i] = is_own(cargo.state[i]) ? in(arrays.state[i], from) : states[i];
            if (!is_own(cargo.state[i])) load(states[i], arrays.state[i], cargo.state[i], place, next);
        }

        loop(work.update->numbers, border, here, 0, place.count);

        for (int i = 0; i < Buffers::most_states && arrays.state[i]; ++i) {
            if (cargo.flush_denormals && i < own_states) flush(static_cast<Real*>(here.state[i]), place.count);
            if (!is_own(cargo.state[i])) store(arrays.state[i], states[i], cargo.state[i], place, next);
        }
        if (!is_own(cargo.param)) {
            store(arrays.param, params, cargo.param, place, next);
            // What follows is of the parameter as it is stored.
            if (cargo.average || cargo.copy) load(params, arrays.param, cargo.param, place, next);
        }
        const Real* param = static_cast<const Real*>(here.param);
        if (cargo.average) average(in(cargo.average, from), param, cargo.average_decay, place.count);
        if (cargo.copy) store(cargo.copy, param, Format{cargo.copy_type}, place, next);
        if (cargo.zero) {
            const int64_t size = size_of(cargo.grad.type);
            memset(static_cast<char*>(cargo.zero) + from * size, 0, size_t(place.count * size));
        }
        from += place.count;
        number += place.count;
    }
}

}  // namespace

extern constinit const Passes passes;
constinit const Passes passes = {pass<float>, pass<double>};

}  // namespace fusedstep::FUSEDSTEP_TARGET
