// A row: 128 consecutive elements of a tensor, which a warp holds in its registers, four to a thread, so that it reads
// 16 bytes at a time, and a row is a block of codes. A `Team` says how many threads there are and what they can find
// out together; on the processor, where tests run the same lines, one thread holds all of them.
#pragma once

#include "../kernel/cargo.hpp"
#include "../rules/stage.hpp"
#include "../storage/bfloat16.hpp"
#include "../storage/code8.hpp"
#include "../storage/float16.hpp"
#include "../storage/float32.hpp"
#include "../storage/pair.hpp"
#include "../storage/random.hpp"

namespace fusedstep::cuda {

constexpr int row = 128;
static_assert(row == Code8::block);

/// The elements of one thread.
struct Place {
    int64_t at;       ///< of the first in the array
    uint32_t number;  ///< the lower half of its number in the whole tensor
    int count;        ///< those that exist
    bool aligned;     ///< all can be read at once
};

/// The rows of a team.
template <class Team, class Real>
struct Rows {
    static constexpr int held = row / Team::lanes;

    template <class Element>
    struct alignas(held <= 4 ? held * sizeof(Element) : alignof(Element)) Pack {
        Element elements[held];
    };

    Real x[held];

    template <class Element>
    static RULE Pack<Element> fetch(const void* array, const Place& place) {
        const Element* const from = static_cast<const Element*>(array) + place.at;
        if (place.aligned) return *reinterpret_cast<const Pack<Element>*>(from);
        Pack<Element> pack;
        for (int i = 0; i < held; ++i) pack.elements[i] = i < place.count ? from[i] : Element(0);
        return pack;
    }

    template <class Element>
    static RULE void put(void* array, const Place& place, const Pack<Element>& pack) {
        Element* const to = static_cast<Element*>(array) + place.at;
        if (place.aligned) {
            Team::write(to, pack);
            return;
        }
        for (int i = 0; i < held; ++i)
            if (i < place.count) to[i] = pack.elements[i];
    }

    template <class Element, class Widen>
    RULE void take(const void* array, const Place& place, Widen widen) {
        const Pack<Element> pack = fetch<Element>(array, place);
        for (int i = 0; i < held; ++i) x[i] = Real(widen(pack.elements[i]));
    }

    template <class Element, class Narrow>
    RULE void give(void* array, const Place& place, Narrow narrow) const {
        Pack<Element> pack;
        for (int i = 0; i < held; ++i) pack.elements[i] = narrow(x[i], i);
        put(array, place, pack);
    }

    /// In the arithmetic's own type
    RULE void load(const void* array, const Place& place) {
        take<Real>(array, place, [](Real own) { return own; });
    }
    RULE void store(void* array, const Place& place) const {
        give<Real>(array, place, [](Real own, int) { return own; });
    }

    template <class Half>
    RULE void load_halves(const void* array, const Format& format, const Place& place) {
        if (format.rounding == Rounding::kahan) {
            const auto halves = fetch<uint16_t>(array, place), rest = fetch<uint16_t>(format.rest, place);
            for (int i = 0; i < held; ++i) x[i] = Real(Pair<Half>::join(halves.elements[i], rest.elements[i]));
            return;
        }
        take<uint16_t>(array, place, [](uint16_t half) { return Half::widen(half); });
    }

    template <class Code>
    RULE void load_codes(const void* array, const Format& format, const Place& place) {
        const float scale = place.count > 0 ? static_cast<const float*>(format.rest)[place.at / row] : 0;
        take<typename Code::Bits>(array, place, [=](typename Code::Bits code) { return Code::decode(code, scale); });
    }

    RULE void load(const void* array, const Format& format, const Place& place) {
        switch (format.type) {
            case Type::float32: return take<float>(array, place, [](float value) { return value; });
            case Type::float64: return take<double>(array, place, [](double value) { return value; });
            case Type::float16: return load_halves<Float16>(array, format, place);
            case Type::bfloat16: break;
            case Type::code8:
                return format.is_signed ? load_codes<SignedCode8>(array, format, place)
                                        : load_codes<UnsignedCode8>(array, format, place);
        }
        if (format.rounding != Rounding::remainder) return load_halves<BFloat16>(array, format, place);
        const auto upper = fetch<uint16_t>(array, place);
        const auto rest = fetch<int16_t>(format.rest, place);
        for (int i = 0; i < held; ++i) x[i] = Real(BFloat16::join(upper.elements[i], rest.elements[i]));
    }

    template <class Half>
    RULE void store_halves(void* array, const Format& format, const Place& place, uint32_t key) const {
        if (format.rounding == Rounding::stochastic)
            return give<uint16_t>(array, place, [=](Real value, int i) {
                return Half::stochastic(float(value), random_bits(key, place.number + uint32_t(i)));
            });
        give<uint16_t>(array, place, [](Real value, int) { return Half::nearest(float(value)); });
        if (format.rounding == Rounding::kahan)
            give<uint16_t>(format.rest, place,
                           [](Real value, int) { return Pair<Half>::rest(float(value), Half::nearest(float(value))); });
    }

    template <class Code>
    RULE void store_codes(void* array, const Format& format, const Place& place, uint32_t key, Team team) const {
        int32_t largest = 0;
        for (int i = 0; i < held; ++i) {
            const int32_t size = i < place.count ? Code::finite_size(float(x[i])) : 0;
            largest = size > largest ? size : largest;
        }
        const float scale = Code::scale(uint32_t(team.largest(largest))), inverse = Code::inverse(scale);
        if (team.lane() == 0 && place.count > 0) static_cast<float*>(format.rest)[place.at / row] = scale;
        const bool random = format.rounding == Rounding::stochastic;
        give<typename Code::Bits>(array, place, [=](Real value, int i) {
            // 16 bits of the 19 that are cut off
            const uint32_t bits = random ? random_bits(key, place.number + uint32_t(i)) << (Code::cut - 16)
                                         : uint32_t(1) << (Code::cut - 1);
            return Code::encode(float(value), inverse, bits);
        });
    }

    RULE void store(void* array, const Format& format, const Place& place, uint32_t key, Team team) const {
        switch (format.type) {
            case Type::float32:
                if (sizeof(Real) == sizeof(double) && format.rounding == Rounding::stochastic)
                    return give<float>(array, place, [=](Real value, int i) {
                        return Float32::stochastic(double(value), random_bits(key, place.number + uint32_t(i)));
                    });
                return give<float>(array, place, [](Real value, int) { return float(value); });
            case Type::float64: return give<double>(array, place, [](Real value, int) { return double(value); });
            case Type::float16: return store_halves<Float16>(array, format, place, key);
            case Type::bfloat16: break;
            case Type::code8:
                return format.is_signed ? store_codes<SignedCode8>(array, format, place, key, team)
                                        : store_codes<UnsignedCode8>(array, format, place, key, team);
        }
        if (format.rounding != Rounding::remainder) return store_halves<BFloat16>(array, format, place, key);
        give<uint16_t>(array, place, [](Real value, int) { return BFloat16::upper(float(value)); });
        give<int16_t>(format.rest, place, [](Real value, int) { return BFloat16::rest(float(value)); });
    }

    static RULE void zero(void* array, Type type, const Place& place) {
        switch (size_of(type)) {
            case 8: return put(array, place, Pack<uint64_t>{});
            case 4: return put(array, place, Pack<uint32_t>{});
            default: return put(array, place, Pack<uint16_t>{});
        }
    }
};

}  // namespace fusedstep::cuda
