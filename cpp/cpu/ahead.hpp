// Memory that is asked for while other memory is worked on. Under the conditions of loops.hpp.
#pragma once

#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// The processor's own prefetcher stops at its end.
constexpr int page_bytes = 4096;

/// Levels of the cache, as compilers number them
constexpr int first_level = 3, second_level = 2;

/// Addresses behind an array's end do no harm.
template <int level>
FS_RULE void prefetch(uintptr_t begin, uintptr_t end) {
#if !defined(_MSC_VER)
    for (uintptr_t line = begin; line < end; line += 64)
        __builtin_prefetch(reinterpret_cast<const void*>(line), 0, level);
#endif
}

/// Prefetches an array from an element on. The processor's own prefetcher does not run while a block is read for the
/// second time. What lies another page ahead is brought as far as the second level, where more lines can be on their
/// way from memory than to the first.
template <class Element>
class Ahead {
public:
    static constexpr int page = page_bytes / int(sizeof(Element));

    FS_RULE Ahead(const Element* values, int first)
        : at_(reinterpret_cast<uintptr_t>(values) + uintptr_t(first) * sizeof(Element)) {}

    /// Prefetches so many elements more.
    FS_RULE void ask(int count) {
        const uintptr_t end = at_ + uintptr_t(count) * sizeof(Element);
        prefetch<first_level>(at_, end);
        prefetch<second_level>(at_ + page_bytes, end + page_bytes);
        at_ = end;
    }

private:
    uintptr_t at_;
};

/// Prefetches what lies a page behind some elements, whose calculation takes so long that the processor does not get
/// there by itself.
template <class Element>
FS_RULE void ask_behind(const Element* values, int64_t count) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(values) + page_bytes;
    prefetch<second_level>(begin, begin + uintptr_t(count) * sizeof(Element));
}

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
