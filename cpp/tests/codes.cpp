// Plain numbers, each on its own and four at once, against the way that all numbers can go: the same bytes.
#include "../storage/code8.hpp"

#include "check.hpp"
#include "random.hpp"

namespace {

using namespace fusedstep;

/// Whether four plain numbers become other codes than on the way that all numbers can go.
template <class Code>
bool differ(const float (&x)[4], float scale, const uint32_t (&random)[4]) {
    const uint32_t four = Code::encode_plain(x, scale, random);
    bool wrong = false;
    for (int i = 0; i < 4; ++i) {
        const auto code = Code::encode(x[i], Code::inverse(scale), random[i] << (Code::cut - 16));
        wrong |= Code::encode_plain(x[i], scale, random[i]) != code || uint8_t(four >> 8 * i) != uint8_t(code);
    }
    return wrong;
}

/// In a block with this largest number: every third size down to a half of it, many below, and the smallest ones.
template <class Code>
void sizes(uint32_t largest, bool has_sign) {
    const float scale = Code::plain_scale(largest);
    long wrong = scale != Code::scale(largest);
    const uint32_t randoms[][4] = {{1 << 15, 1 << 15, 1 << 15, 1 << 15}, {0, 1, 0x7fff, 0xffff}};
    Random chance(largest);
    const auto look = [&](const float (&x)[4]) {
        for (const auto& random : randoms) wrong += differ<Code>(x, scale, random);
        uint32_t random[4];
        for (uint32_t& bits : random) bits = uint32_t(chance.bits()) >> 16;
        wrong += differ<Code>(x, scale, random);
    };
    const auto signed_number = [&](uint32_t size) {
        return as<float>(size | (has_sign && chance.bits() & 1 ? sign_bit : 0));
    };
    const uint32_t least = largest > (25u << 23) ? largest - (25u << 23) : 1;
    for (uint32_t size = largest; size > least; size -= size > largest - (1u << 23) ? 3 : 251) {
        const float x[] = {signed_number(size), signed_number(largest), signed_number(least), signed_number(size)};
        look(x);
    }
    for (uint32_t size = least; size > 1'000'003; size -= 1'000'003) {
        const float x[] = {signed_number(size), signed_number(1), signed_number((size & 0x7fffff) | 1),
                           signed_number(size)};
        look(x);
    }
    CHECK(wrong == 0);
}

template <class Code>
void every_scale(bool has_sign) {
    long wrong = 0;
    Random random(7);
    for (int i = 0; i < 300'000; ++i) {
        const uint32_t largest = Code::least + uint32_t(random.below(Code::most - Code::least));
        const float scale = Code::plain_scale(largest);
        float x[4];
        uint32_t bits[4];
        for (int j = 0; j < 4; ++j) {
            const uint32_t size = 1 + uint32_t(random.below(largest));
            x[j] = as<float>((i % 2 ? size : largest - size % 0x8000000 % largest) |
                             (has_sign && random.bits() & 1 ? sign_bit : 0));
            bits[j] = uint32_t(random.bits()) >> 16;
        }
        wrong += scale != Code::scale(largest);
        wrong += differ<Code>(x, scale, bits);
    }
    CHECK(wrong == 0);
}

/// The largest size of numbers with signs and without; above all plain ones where one is none.
void largest() {
    Random random(8);
    long wrong = 0;
    for (int i = 0; i < 300'000; ++i) {
        uint32_t bits[8], expected = 0;
        for (uint32_t& one : bits) {
            one = uint32_t(random.bits()) & (i % 3 ? ~0u : sign_bit | 0xff);
            expected = (one & magnitude_bits) > expected ? one & magnitude_bits : expected;
        }
        wrong += SignedCode8::largest(bits) != expected;
    }
    CHECK(wrong == 0);
}

}  // namespace

int main() {
    for (const uint32_t exponent : {27u, 251u}) {
        sizes<SignedCode8>((exponent << 23) + 0x77ffff, true);
        sizes<SignedCode8>((exponent << 23) + 0x780000, true);
        sizes<UnsignedCode8>((exponent << 23) + 0x67ffff, false);
        sizes<UnsignedCode8>((exponent << 23) + 0x680000, false);
    }
    every_scale<SignedCode8>(true);
    every_scale<UnsignedCode8>(false);
    largest();
    return result();
}
