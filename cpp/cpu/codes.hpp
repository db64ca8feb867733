// A tile of codes of eight bits, from and to numbers. Under the conditions of loops.hpp.
#pragma once

#include "../storage/code8.hpp"
#include "ahead.hpp"
#include "loops.hpp"
#include "tile.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

constexpr int blocks = tile / Code8::block;
static_assert(tile % Code8::block == 0);

/// The parameters and gradients of the next tile. Codes take so long that the processor does not get there by itself; a
/// share is asked for with each of their blocks, because whoever asks for all at once waits for them.
class Next {
public:
    FS_RULE Next(const Buffers& arrays, const Cargo& cargo, int64_t from, int64_t share)
        : param_(arrays.param, cargo.param.type, from, share), grad_(arrays.grad, cargo.grad.type, from, share) {}

    /// The share of elements, if so many states are codes: each is decoded and encoded.
    static FS_RULE int64_t share(int codes) { return codes ? tile / (2 * blocks * codes) : 0; }

    FS_RULE void ask() {
        param_.ask();
        grad_.ask();
    }

private:
    struct Part {
        uintptr_t at, bytes;

        FS_RULE Part(const void* array, Type type, int64_t from, int64_t share)
            : at(reinterpret_cast<uintptr_t>(array) + uintptr_t(from * size_of(type))),
              bytes(uintptr_t(share * size_of(type))) {}

        FS_RULE void ask() {
            prefetch<second_level>(at, at + bytes);
            at += bytes;
        }
    };

    Part param_, grad_;
};

template <class Code, class Real>
FS_RULE void decode(Real* RESTRICT to, const typename Code::Bits* RESTRICT from, const float* RESTRICT scales,
                    int count, Next& next) {
    for (int block = 0; block < count; block += Code::block) {
        const int end = count < block + Code::block ? count : block + Code::block;
        next.ask();
        const float scale = scales[block / Code::block];
        INDEPENDENT
        for (int i = block; i < end; ++i) to[i] = Real(Code::decode(from[i], scale));
    }
}

/// The scale of a block, and whether all of its numbers are plain.
template <class Code, class Real>
FS_RULE bool measure(float& scale, const Real* RESTRICT from, int count) {
    uint32_t largest = 0, smallest = ~0u;
    for (int i = 0; i < count; ++i) {
        const uint32_t rank = Code::rank(float(from[i]));
        largest = rank > largest ? rank : largest;
        smallest = rank < smallest ? rank : smallest;
    }
    if (Code::plain(largest, smallest)) {
        scale = Code::plain_scale(largest);
        return true;
    }
    int32_t finite = 0;
    for (int i = 0; i < count; ++i) {
        const int32_t size = Code::finite_size(float(from[i]));
        finite = size > finite ? size : finite;
    }
    scale = Code::scale(uint32_t(finite));
    return false;
}

/// In the place of random bits: to nearest. 16 bits of the 19 that are cut off.
struct Halfway {
    FS_RULE uint32_t bits() const { return uint32_t(1) << 15; }
    FS_RULE void advance() {}
};

template <class Code, class Real, class Random>
FS_RULE void encode(typename Code::Bits* RESTRICT to, float* RESTRICT scales, const Real* RESTRICT from, int count,
                    Random draws, Next& next) {
    // All scales first: finding the largest of a block takes long, but not long for several at a time.
    bool plain[blocks];
    for (int block = 0; block < count; block += Code::block) {
        const int left = count - block, n = block / Code::block;
        plain[n] = measure<Code>(scales[n], from + block, left < Code::block ? left : Code::block);
    }
    for (int block = 0; block < count; block += Code::block) {
        const int end = count < block + Code::block ? count : block + Code::block;
        const float scale = scales[block / Code::block];
        next.ask();
        if (plain[block / Code::block]) {
            INDEPENDENT
            for (int i = block; i < end; ++i, draws.advance())
                to[i] = Code::encode_plain(float(from[i]), scale, draws.bits());
        } else {
            const float inverse = Code::inverse(scale);
            INDEPENDENT
            for (int i = block; i < end; ++i, draws.advance())
                to[i] = Code::encode(float(from[i]), inverse, draws.bits() << (Code::cut - 16));
        }
    }
}

template <class Code, class Real>
FS_RULE void encode(const Format& format, typename Code::Bits* to, float* scales, const Real* from, const Place& place,
                    Next& next) {
    if (format.rounding == Rounding::stochastic)
        return encode<Code>(to, scales, from, place.count, place.draws(format.draw), next);
    encode<Code>(to, scales, from, place.count, Halfway(), next);
}

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
