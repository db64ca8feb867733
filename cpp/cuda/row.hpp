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

/// One array of a tensor.
struct Array {
    void* data;
    Format format;
    uint32_t key = 0;  ///< of its random bits
};

/// The formats that a piece of code is made for.
struct Kinds {
    unsigned types;     ///< a bit for each
    bool split = true;  ///< whether numbers may lie in two arrays

    static RULE constexpr Kinds only(Type type) { return {1u << int(type), false}; }
    RULE constexpr Kinds operator|(Kinds other) const { return {types | other.types, split || other.split}; }
    RULE constexpr bool has(Type type) const { return types >> int(type) & 1; }

    /// Whether an array is of a type; known beforehand where it can be of no other, or not of this.
    RULE bool are(Type type, const Format& format) const {
        return has(type) && (types == 1u << int(type) || format.type == type);
    }
};
constexpr Kinds every_kind{~0u};

/// The elements of one thread.
struct Place {
    int64_t at;       ///< of the first in the array
    uint32_t number;  ///< the lower half of its number in the whole tensor
    int count;        ///< those that exist
    bool whole;       ///< all exist and can be read at once
};

/// That of a thread in the row that begins at an element of an array of `size`.
template <class Team>
RULE Place place_in(int64_t row_begin, int64_t size, int64_t offset, bool aligned, Team team) {
    constexpr int held = row / Team::lanes;
    const int64_t at = row_begin + team.lane() * held, left = size - at;
    const int count = left < 0 ? 0 : left < held ? int(left) : held;
    return {at, uint32_t(offset + at), count, aligned && count == held};
}

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
        if (place.whole) return *reinterpret_cast<const Pack<Element>*>(from);
        Pack<Element> pack;
        for (int i = 0; i < held; ++i) pack.elements[i] = i < place.count ? from[i] : Element(0);
        return pack;
    }

    template <class Element>
    static RULE void put(void* array, const Place& place, const Pack<Element>& pack) {
        Element* const to = static_cast<Element*>(array) + place.at;
        if (place.whole) {
            Team::write(to, pack);
            return;
        }
        for (int i = 0; i < held; ++i)
            if (i < place.count) to[i] = pack.elements[i];
    }

    template <class Element, class Narrow>
    RULE void give(void* array, const Place& place, Narrow narrow) const {
        Pack<Element> pack;
        for (int i = 0; i < held; ++i) pack.elements[i] = narrow(x[i], i);
        put(array, place, pack);
    }

    /// In the arithmetic's own type
    RULE void load(const void* array, const Place& place) {
        const auto pack = fetch<Real>(array, place);
        for (int i = 0; i < held; ++i) x[i] = pack.elements[i];
    }
    RULE void store(void* array, const Place& place) const {
        give<Real>(array, place, [](Real own, int) { return own; });
    }

    /// What an array holds of a row, as it lies there. `rest` is what Format names so: of codes, their one scale.
    struct Raw {
        Pack<Real> own;
        Pack<uint16_t> rest;

        template <class Element>
        RULE Element at(int i) const {
            Element element;
            memcpy(&element, reinterpret_cast<const char*>(&own) + i * int(sizeof(Element)), sizeof(Element));
            return element;
        }
        RULE float scale() const {
            float scale;
            memcpy(&scale, &rest, sizeof(scale));
            return scale;
        }
    };

    template <class Element>
    static RULE void keep(Raw& raw, const Array& array, const Place& place) {
        const auto pack = fetch<Element>(array.data, place);
        memcpy(&raw.own, &pack, sizeof(pack));
    }
    template <Kinds kinds>
    static RULE Raw look(const Array& array, const Place& place) {
        Raw raw;
        if (kinds.are(Type::float32, array.format)) {
            keep<float>(raw, array, place);
        } else if (kinds.are(Type::float64, array.format)) {
            // A rule of floats seldom meets doubles, and fetches them when it comes to them.
            if constexpr (sizeof(Real) == sizeof(double)) keep<double>(raw, array, place);
        } else if (kinds.are(Type::code8, array.format)) {
            keep<uint8_t>(raw, array, place);
            const float scale = place.count > 0 ? static_cast<const float*>(array.format.rest)[place.at / row] : 0;
            memcpy(&raw.rest, &scale, sizeof(scale));
        } else {
            keep<uint16_t>(raw, array, place);
        }
        if constexpr (kinds.split)
            if (array.format.split()) raw.rest = fetch<uint16_t>(array.format.rest, place);
        return raw;
    }

    template <class Widen>
    RULE void widen(Widen widen) {
        for (int i = 0; i < held; ++i) x[i] = Real(widen(i));
    }
    template <class Half>
    RULE void widen_halves(const Raw& raw, bool pairs) {
        if (pairs)
            widen([&](int i) { return Pair<Half>::join(raw.template at<uint16_t>(i), raw.rest.elements[i]); });
        else
            widen([&](int i) { return Half::widen(raw.template at<uint16_t>(i)); });
    }
    template <class Code>
    RULE void decode(const Raw& raw) {
        const float scale = raw.scale();
        widen([&](int i) { return Code::decode(raw.template at<typename Code::Bits>(i), scale); });
    }
    template <Kinds kinds>
    RULE void take(const Raw& raw, const Array& array, const Place& place) {
        const Rounding rounding = kinds.split ? array.format.rounding : Rounding::nearest;
        if (kinds.are(Type::float32, array.format)) return widen([&](int i) { return raw.template at<float>(i); });
        if (kinds.are(Type::float64, array.format)) {
            if constexpr (sizeof(Real) == sizeof(double)) {
                return widen([&](int i) { return raw.template at<double>(i); });
            } else {
                const auto pack = fetch<double>(array.data, place);
                return widen([&](int i) { return pack.elements[i]; });
            }
        }
        if (kinds.are(Type::code8, array.format))
            return array.format.is_signed ? decode<SignedCode8>(raw) : decode<UnsignedCode8>(raw);
        if (kinds.are(Type::float16, array.format)) return widen_halves<Float16>(raw, rounding == Rounding::kahan);
        if (rounding != Rounding::remainder) return widen_halves<BFloat16>(raw, rounding == Rounding::kahan);
        widen([&](int i) { return BFloat16::join(raw.template at<uint16_t>(i), int16_t(raw.rest.elements[i])); });
    }

    RULE void load(const Array& array, const Place& place) {
        take<every_kind>(look<every_kind>(array, place), array, place);
    }

    template <class Half, bool split>
    RULE void store_halves(const Array& array, const Place& place) const {
        const Rounding rounding = array.format.rounding;
        if (rounding == Rounding::stochastic)
            return give<uint16_t>(array.data, place, [=](Real value, int i) {
                return Half::stochastic(float(value), random_bits(array.key, place.number + uint32_t(i)));
            });
        give<uint16_t>(array.data, place, [](Real value, int) { return Half::nearest(float(value)); });
        if (split && rounding == Rounding::kahan)
            give<uint16_t>(array.format.rest, place,
                           [](Real value, int) { return Pair<Half>::rest(float(value), Half::nearest(float(value))); });
    }

    template <class Code>
    RULE void store_codes(const Array& array, const Place& place, Team team) const {
        int32_t largest = 0;
        for (int i = 0; i < held; ++i) {
            const int32_t size = i < place.count ? Code::finite_size(float(x[i])) : 0;
            largest = size > largest ? size : largest;
        }
        const float scale = Code::scale(uint32_t(team.largest(largest))), inverse = Code::inverse(scale);
        if (team.lane() == 0 && place.count > 0) static_cast<float*>(array.format.rest)[place.at / row] = scale;
        const bool random = array.format.rounding == Rounding::stochastic;
        give<typename Code::Bits>(array.data, place, [=](Real value, int i) {
            // 16 bits of the 19 that are cut off
            const uint32_t bits = random ? random_bits(array.key, place.number + uint32_t(i)) << (Code::cut - 16)
                                         : uint32_t(1) << (Code::cut - 1);
            return Code::encode(float(value), inverse, bits);
        });
    }

    template <Kinds kinds>
    RULE void store(const Array& array, const Place& place, Team team) const {
        const Format& format = array.format;
        if (kinds.are(Type::float32, format)) {
            if (sizeof(Real) == sizeof(double) && format.rounding == Rounding::stochastic)
                return give<float>(array.data, place, [=](Real value, int i) {
                    return Float32::stochastic(double(value), random_bits(array.key, place.number + uint32_t(i)));
                });
            return give<float>(array.data, place, [](Real value, int) { return float(value); });
        }
        if (kinds.are(Type::float64, format))
            return give<double>(array.data, place, [](Real value, int) { return double(value); });
        if (kinds.are(Type::code8, format))
            return format.is_signed ? store_codes<SignedCode8>(array, place, team)
                                    : store_codes<UnsignedCode8>(array, place, team);
        if (kinds.are(Type::float16, format)) return store_halves<Float16, kinds.split>(array, place);
        if (!kinds.split || format.rounding != Rounding::remainder)
            return store_halves<BFloat16, kinds.split>(array, place);
        give<uint16_t>(array.data, place, [](Real value, int) { return BFloat16::upper(float(value)); });
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
