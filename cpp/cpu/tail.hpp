// The elements behind an array's last whole vector, as a vector of their own. Under the conditions of loops.hpp.
#pragma once

#include <type_traits>

#include "loops.hpp"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

#if defined(__AVX512BW__)

/// Fewer elements than a vector holds, with zeros behind them.
template <class Element>
struct Tail {
    static constexpr int size = 64 / sizeof(Element);
    Element row[size];

    FS_RULE Tail(const Element* from, int count) {
        const uint32_t mask = (1u << count) - 1;
        if constexpr (sizeof(Element) == 2)
            _mm512_storeu_si512(row, _mm512_maskz_loadu_epi16(__mmask32(mask), from));
        else if constexpr (sizeof(Element) == 4)
            _mm512_storeu_si512(row, _mm512_maskz_loadu_epi32(__mmask16(mask), from));
        else
            _mm512_storeu_si512(row, _mm512_maskz_loadu_epi64(__mmask8(mask), from));
    }

    FS_RULE void store(Element* to, int count) const {
        const uint32_t mask = (1u << count) - 1;
        const __m512i all = _mm512_loadu_si512(row);
        if constexpr (sizeof(Element) == 2)
            _mm512_mask_storeu_epi16(to, __mmask32(mask), all);
        else if constexpr (sizeof(Element) == 4)
            _mm512_mask_storeu_epi32(to, __mmask16(mask), all);
        else
            _mm512_mask_storeu_epi64(to, __mmask8(mask), all);
    }
    FS_RULE void store(const Element*, int) const {}
};

#else

/// Without masks, bringing elements together takes longer than one after the other does. Halves lie two in a word.
template <class Element>
struct Tail {
    static constexpr int size = sizeof(Element) == 2 ? 2 : 1;
    Element row[size] = {};

    FS_RULE Tail(const Element* from, int count) {
        for (int i = 0; i < count; ++i) row[i] = from[i];
    }

    FS_RULE void store(Element* to, int count) const {
        for (int i = 0; i < count; ++i) to[i] = row[i];
    }
    FS_RULE void store(const Element*, int) const {}
};

#endif

/// Runs `loop(first, count, array from there ...)` over arrays of so many elements of one size.
template <class Loop, class Element, class... More>
FS_RULE void run_with_tail(int64_t count, const Loop& loop, Element* array, More*... more) {
    constexpr int size = Tail<Element>::size;
    const int64_t whole = count / size * size;
    loop(0, whole, array, more...);
    if constexpr (size > 1) {
        const int rest = int(count - whole);
        if (rest == 0) return;
        const auto run = [&](auto first, auto... others) IN_LINE {
            loop(whole, size, first.row, others.row...);
            first.store(array + whole, rest);
            (others.store(more + whole, rest), ...);
        };
        run(Tail<Element>(array + whole, rest), Tail<std::remove_const_t<More>>(more + whole, rest)...);
    }
}

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
