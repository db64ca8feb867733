// A row: 128 consecutive elements of a tensor, which is a block of codes. Threads hold it in their registers, four
// consecutive elements at a time, which are read together, in turns. A `Team` says how many threads take a row, how
// many rows they take side by side, and what they can find out together; on the processor, where tests run the same
// lines, one thread holds all of them.
#pragma once

#include "../rules/stage.hpp"
#include "../storage/bfloat16.hpp"
#include "../storage/code8.hpp"
#include "../storage/float16.hpp"
#include "../storage/float32.hpp"
#include "../storage/pair.hpp"
#include "../storage/random.hpp"
#include "kinds.hpp"
#include "place.hpp"

namespace fusedstep::cuda {

/// One array of a tensor.
struct Array {
    void* data;
    Format format;
    uint32_t key = 0;  ///< of its random bits
};

/// The rows of a team.
template <class Team, class Real>
struct Rows {
    static constexpr int held = row / Team::lanes, pieces = held / piece;

    /// What is written of a type.
    template <class Element>
    struct alignas(piece * sizeof(Element)) Piece {
        Element elements[piece];
    };
    template <class Element>
    struct Pack {
        Piece<Element> pieces[Rows::pieces];

        FS_RULE Element& operator[](int i) { return pieces[i / piece].elements[i % piece]; }
        FS_RULE const Element& operator[](int i) const { return pieces[i / piece].elements[i % piece]; }
    };

    /// What is read of a type, in words: smaller elements are taken out of them when they are needed.
    template <class Element>
    struct Words {
        static constexpr int bits = 8 * int(sizeof(Element)), count = piece * bits / 32;
        struct alignas(piece * sizeof(Element)) Piece {
            uint32_t words[count];
        };
        Piece pieces[Rows::pieces];

        FS_RULE Element operator[](int i) const {
            const uint32_t* const words = pieces[i / piece].words;
            const int first = i % piece * bits;
            if constexpr (bits == 64)
                return as<Element>(uint64_t(words[first / 32 + 1]) << 32 | words[first / 32]);
            else if constexpr (bits == 32)
                return as<Element>(words[first / 32]);
            else
                return Element(words[first / 32] >> first % 32);
        }
    };

    Real x[held];

    /// How far an element lies behind the thread's first.
    static FS_RULE constexpr int behind(int i) { return i / piece * piece * Team::lanes + i % piece; }

    static FS_RULE uint32_t drawn(const Array& array, const Place& place, int i) {
        return random_bits(array.key, place.number + uint32_t(behind(i)));
    }

    template <Kinds kinds>
    static FS_RULE int bytes_of(const Format& format) {
        return kinds.are(Type::float32, format)   ? 4
               : kinds.are(Type::float64, format) ? 8
               : kinds.are(Type::code8, format)   ? 1
                                                  : 2;
    }
    /// A thread's first element in an array. Where that is near, one multiplication is enough for either type.
    template <class Element, Kinds kinds>
    static FS_RULE Element* first(void* data, const Format& format, const Place& place) {
        if constexpr (!kinds.near) return static_cast<Element*>(data) + place.at;
        return reinterpret_cast<Element*>(static_cast<char*>(data) + place.at * bytes_of<kinds>(format));
    }

    template <class Element>
    static FS_RULE Words<Element> fetch(const Element* from, const Place& place) {
        Words<Element> fetched;
        for (int n = 0; n < pieces; ++n) {
            auto& here = fetched.pieces[n];
            if (place.whole) {
                here = *reinterpret_cast<const typename Words<Element>::Piece*>(from + behind(n * piece));
                continue;
            }
            Piece<Element> one;
            for (int i = 0; i < piece; ++i)
                one.elements[i] = behind(n * piece + i) < place.left ? from[behind(n * piece + i)] : Element(0);
            memcpy(&here, &one, sizeof(here));
        }
        return fetched;
    }

    template <class Element, class Packed>
    static FS_RULE void put(Element* to, const Place& place, const Packed& pack) {
        if (place.whole) {
            for (int n = 0; n < pieces; ++n) Team::write(to + behind(n * piece), pack.pieces[n]);
        } else {
            for (int i = 0; i < held; ++i)
                if (behind(i) < place.left) to[behind(i)] = pack[i];
        }
    }

    template <class Element, class Narrow>
    FS_RULE Pack<Element> packed(Narrow narrow) const {
        Pack<Element> pack;
        for (int i = 0; i < held; ++i) pack[i] = narrow(x[i], i);
        return pack;
    }

    /// In the arithmetic's own type
    FS_RULE void load(const void* array, const Place& place) {
        const auto pack = fetch(static_cast<const Real*>(array) + place.at, place);
        for (int i = 0; i < held; ++i) x[i] = pack[i];
    }
    FS_RULE void store(void* array, const Place& place) const {
        put(static_cast<Real*>(array) + place.at, place, packed<Real>([](Real own, int) { return own; }));
    }

    /// What an array holds of a row, as it lies there. `rest` is what Format names so: of codes, their one scale.
    struct Raw {
        Words<Real> own;
        Words<uint16_t> rest;

        template <class Element>
        FS_RULE Words<Element> as() const {
            Words<Element> words;
            copy(words, own);
            return words;
        }
        template <class Packed>
        FS_RULE void keep(const Packed& pack) {
            copy(own, pack);
        }
        template <class Packed>
        FS_RULE void keep_rest(const Packed& pack) {
            copy(rest, pack);
        }
        FS_RULE uint32_t& scale() { return rest.pieces[0].words[0]; }
        FS_RULE float scale() const { return fusedstep::as<float>(rest.pieces[0].words[0]); }

    private:
        /// As many bytes of each piece as both have.
        template <class To, class From>
        static FS_RULE void copy(To& to, const From& from) {
            constexpr size_t bytes =
                sizeof(to.pieces[0]) < sizeof(from.pieces[0]) ? sizeof(to.pieces[0]) : sizeof(from.pieces[0]);
            for (int n = 0; n < pieces; ++n) memcpy(&to.pieces[n], &from.pieces[n], bytes);
        }
    };

    /// Where the one scale of a row of codes lies.
    static FS_RULE uint32_t* scale_of(const Array& array, const Place& place) {
        return static_cast<uint32_t*>(array.format.rest) + uint64_t(place.at) / row;
    }

    template <Kinds kinds>
    static FS_RULE Raw look(const Array& array, const Place& place) {
        Raw raw;
        const auto fetched = [&](auto element) {
            return fetch(first<const decltype(element), kinds>(array.data, array.format, place), place);
        };
        if (kinds.are(Type::float32, array.format)) {
            raw.keep(fetched(float()));
        } else if (kinds.are(Type::float64, array.format)) {
            // A rule of floats seldom meets doubles, and fetches them when it comes to them.
            if constexpr (sizeof(Real) == sizeof(double)) raw.keep(fetched(double()));
        } else if (kinds.are(Type::code8, array.format)) {
            raw.keep(fetched(uint8_t()));
            raw.scale() = place.left > 0 ? *scale_of(array, place) : 0;
        } else {
            raw.keep(fetched(uint16_t()));
        }
        if constexpr (kinds.split)
            if (array.format.split())
                raw.rest = fetch(static_cast<const uint16_t*>(array.format.rest) + place.at, place);
        return raw;
    }

    /// Asks for a row that is read later: each thread for a sector of the cache, or less.
    template <Kinds kinds>
    static FS_RULE void ask(const Array& array, const Place& place, Team team) {
        const int64_t at = place.at + team.lane() * (held - piece);
        Team::ask(static_cast<const char*>(array.data) + at * bytes_of<kinds>(array.format));
        if (kinds.are(Type::code8, array.format)) Team::ask(scale_of(array, place));
    }

    template <class Widen>
    FS_RULE void widen(Widen widen) {
        // From the last on: a GPU widens four halves where they lie, in the first two of four registers.
        for (int i = held; i-- > 0;) x[i] = Real(widen(i));
    }
    template <class Half>
    FS_RULE void widen_halves(const Raw& raw, bool pairs) {
        const auto halves = raw.template as<uint16_t>();
        if (pairs)
            widen([&](int i) { return Pair<Half>::join(halves[i], raw.rest[i]); });
        else
            widen([&](int i) { return Half::widen(halves[i]); });
    }
    template <class Code, bool quick>
    FS_RULE bool decode(const Raw& raw) {
        using Bits = typename Code::Bits;
        const auto codes = raw.template as<Bits>();
        const float scale = raw.scale();
        uint32_t strange = 0;
        for (int n = 0; n < pieces; ++n) strange |= Code::not_numbers(codes.pieces[n].words[0]);
        widen([&](int i) { return Code::value(Code::of_four(codes.pieces[i / piece].words[0], i % piece), scale); });
        if constexpr (!quick)
            if (strange) widen([&](int i) { return codes[i] == Bits(Code::not_a_number) ? Real(NAN) : x[i]; });
        return !strange;
    }
    /// Whether all are numbers; where it is to be quick, what is none is not made NaN.
    template <Kinds kinds, bool quick = false>
    FS_RULE bool take(const Raw& raw, const Array& array, const Place& place) {
        const Rounding rounding = kinds.split ? array.format.rounding : Rounding::nearest;
        if (kinds.are(Type::float32, array.format)) {
            const auto pack = raw.template as<float>();
            widen([&](int i) { return pack[i]; });
        } else if (kinds.are(Type::float64, array.format)) {
            if constexpr (sizeof(Real) == sizeof(double)) {
                const auto pack = raw.template as<double>();
                widen([&](int i) { return pack[i]; });
            } else {
                const auto pack = fetch(static_cast<const double*>(array.data) + place.at, place);
                widen([&](int i) { return pack[i]; });
            }
        } else if (kinds.are(Type::code8, array.format)) {
            return kinds.are_signed(array.format) ? decode<SignedCode8, quick>(raw) : decode<UnsignedCode8, quick>(raw);
        } else if (kinds.are(Type::float16, array.format)) {
            widen_halves<Float16>(raw, rounding == Rounding::kahan);
        } else if (rounding != Rounding::remainder) {
            widen_halves<BFloat16>(raw, rounding == Rounding::kahan);
        } else {
            const auto upper = raw.template as<uint16_t>();
            widen([&](int i) { return BFloat16::join(upper[i], int16_t(raw.rest[i])); });
        }
        return true;
    }

    template <Kinds kinds>
    FS_RULE void load(const Array& array, const Place& place) {
        take<kinds>(look<kinds>(array, place), array, place);
    }

    FS_RULE bool numbers() const {
        bool strange = false;
        for (int i = 0; i < held; i += 2) strange |= (x[i] != x[i]) | (x[i + 1] != x[i + 1]);
        return !strange;
    }

    /// Numbers in bfloat16, two in a word.
    template <class Round>
    FS_RULE Words<uint16_t> by_twos(Round round) const {
        uint32_t rounded[held];
        for (int i = 0; i < held; ++i) rounded[i] = round(float(x[i]), i);
        Words<uint16_t> halves;
        for (int i = 0; i < held; i += 2)
            halves.pieces[i / piece].words[i % piece / 2] = BFloat16::joined(rounded[i], rounded[i + 1]);
        return halves;
    }

    template <class Half, Kinds kinds, bool quick>
    FS_RULE void give_halves(Raw& raw, const Array& array, const Place& place) const {
        const bool random = kinds.are_random(array.format);
        if constexpr (quick && std::is_same_v<Half, BFloat16>) {
            if (random)
                return raw.keep(
                    by_twos([=](float value, int i) { return BFloat16::rounded(value, drawn(array, place, i)); }));
            return raw.keep(by_twos([](float value, int) { return BFloat16::rounded(value); }));
        }
        if (random)
            return raw.keep(packed<uint16_t>(
                [=](Real value, int i) { return Half::stochastic(float(value), drawn(array, place, i)); }));
        raw.keep(packed<uint16_t>([](Real value, int) { return Half::nearest(float(value)); }));
        if (kinds.split && array.format.rounding == Rounding::kahan)
            raw.keep_rest(packed<uint16_t>(
                [](Real value, int) { return Pair<Half>::rest(float(value), Half::nearest(float(value))); }));
    }

    /// The largest size of a row. Below `most` if all of its numbers are plain.
    template <class Code>
    FS_RULE uint32_t plain_size(Team team) const {
        uint32_t bits[held];
        for (int i = 0; i < held; ++i) bits[i] = as<uint32_t>(float(x[i]));
        return team.largest(Code::largest(bits));
    }

    template <class Code, Kinds kinds, bool quick>
    FS_RULE void give_codes(Raw& raw, const Array& array, const Place& place, Team team, uint32_t size) const {
        if constexpr (!quick) {
            for (int i = 0; i < held; ++i) {
                const auto mine = uint32_t(Code::finite_size(float(x[i])));
                if (place.whole || behind(i) < place.left) size = mine > size ? mine : size;
            }
            size = team.largest(size);
        }
        const float scale = quick ? Code::plain_scale(size) : Code::scale(size);
        raw.scale() = as<uint32_t>(scale);
        const bool random = kinds.are_random(array.format);
        // 16 bits of the 19 that are cut off
        const auto bits = [&](int i) { return random ? drawn(array, place, i) : uint32_t(1) << 15; };
        using Bits = typename Code::Bits;
        if constexpr (quick) {
            Words<Bits> codes;
            for (int i = 0; i < held; i += piece) {
                const float values[] = {float(x[i]), float(x[i + 1]), float(x[i + 2]), float(x[i + 3])};
                const uint32_t of_each[] = {bits(i), bits(i + 1), bits(i + 2), bits(i + 3)};
                codes.pieces[i / piece].words[0] = Code::encode_plain(values, scale, of_each);
            }
            raw.keep(codes);
        } else {
            const float inverse = Code::inverse(scale);
            raw.keep(packed<Bits>(
                [=](Real value, int i) { return Code::encode(float(value), inverse, bits(i) << (Code::cut - 16)); }));
        }
    }

    template <class Code>
    FS_RULE bool are_plain(Team team, uint32_t& size) const {
        size = plain_size<Code>(team);
        uint32_t smallest = ~0u;
        for (int i = 0; i < held; ++i) {
            const uint32_t mine = Code::rank(float(x[i]));
            smallest = mine < smallest ? mine : smallest;
        }
        return Code::plain(size, smallest);
    }

    /// Whether a row can be stored the quick way; what is known of it then.
    template <Kinds kinds>
    FS_RULE bool is_plain(const Array& array, Team team, uint32_t& size) const {
        if (!kinds.are(Type::code8, array.format)) return numbers();
        return kinds.are_signed(array.format) ? are_plain<SignedCode8>(team, size)
                                              : are_plain<UnsignedCode8>(team, size);
    }

    /// As they are to lie there: what `take` undoes.
    template <Kinds kinds, bool quick>
    FS_RULE void give(Raw& raw, const Array& array, const Place& place, Team team, uint32_t size) const {
        const Format& format = array.format;
        if (kinds.are(Type::float32, format)) {
            if (sizeof(Real) == sizeof(double) && kinds.are_random(format))
                return raw.keep(packed<float>(
                    [=](Real value, int i) { return Float32::stochastic(double(value), drawn(array, place, i)); }));
            return raw.keep(packed<float>([](Real value, int) { return float(value); }));
        }
        if (kinds.are(Type::float64, format)) return;  // `raw` may not have the room
        if (kinds.are(Type::code8, format))
            return kinds.are_signed(format) ? give_codes<SignedCode8, kinds, quick>(raw, array, place, team, size)
                                            : give_codes<UnsignedCode8, kinds, quick>(raw, array, place, team, size);
        if (kinds.are(Type::float16, format)) return give_halves<Float16, kinds, quick>(raw, array, place);
        if (!kinds.split || format.rounding != Rounding::remainder)
            return give_halves<BFloat16, kinds, quick>(raw, array, place);
        raw.keep(packed<uint16_t>([](Real value, int) { return BFloat16::upper(float(value)); }));
        raw.keep_rest(packed<uint16_t>([](Real value, int) { return uint16_t(BFloat16::rest(float(value))); }));
    }

    /// `size` is what is_plain() said of the row.
    template <Kinds kinds, bool quick = false>
    FS_RULE void store(const Array& array, const Place& place, Team team, uint32_t size = 0) const {
        const Format& format = array.format;
        Raw raw;
        give<kinds, quick>(raw, array, place, team, size);
        const auto put = [&](auto element, const auto& pack) {
            Rows::put(first<decltype(element), kinds>(array.data, format, place), place, pack);
        };
        if (kinds.are(Type::float32, format)) {
            put(float(), raw.template as<float>());
        } else if (kinds.are(Type::float64, format)) {
            put(double(), packed<double>([](Real value, int) { return double(value); }));
        } else if (kinds.are(Type::code8, format)) {
            put(uint8_t(), raw.template as<uint8_t>());
            // All lanes have read the old one: what they have exchanged since is made of it.
            if (team.lane() == 0 && place.left > 0) *scale_of(array, place) = raw.scale();
        } else {
            put(uint16_t(), raw.template as<uint16_t>());
        }
        if constexpr (kinds.split)
            if (format.split()) Rows::put(static_cast<uint16_t*>(format.rest) + place.at, place, raw.rest);
    }

    static FS_RULE void zero(void* array, Type type, const Place& place) {
        switch (size_of(type)) {
            case 8: return put(static_cast<uint64_t*>(array) + place.at, place, Pack<uint64_t>{});
            case 4: return put(static_cast<uint32_t*>(array) + place.at, place, Pack<uint32_t>{});
            default: return put(static_cast<uint16_t*>(array) + place.at, place, Pack<uint16_t>{});
        }
    }
};

}  // namespace fusedstep::cuda
