// Memory that is asked for while other memory is worked on. Under the conditions of loops.hpp.
#pragma once

#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// Prefetches an array from an element on; addresses behind its end do no harm. The processor's own prefetcher stops at
/// the end of a page, and does not run while a block is read for the second time. What lies another page ahead is
/// brought as far as the second level, where more lines can be on their way from memory than to the first.
template <class Element>
class Ahead {
public:
    static constexpr int page_bytes = 4096, page = page_bytes / int(sizeof(Element));

    RULE Ahead(const Element* values, int first)
        : at_(reinterpret_cast<uintptr_t>(values) + uintptr_t(first) * sizeof(Element)) {}

    /// Prefetches so many elements more.
    RULE void ask(int count) {
        const uintptr_t end = at_ + uintptr_t(count) * sizeof(Element);
#if !defined(_MSC_VER)
        for (uintptr_t line = at_; line < end; line += 64) {
            __builtin_prefetch(reinterpret_cast<const void*>(line));
            __builtin_prefetch(reinterpret_cast<const void*>(line + page_bytes), 0, second_level);
        }
#endif
        at_ = end;
    }

private:
    static constexpr int second_level = 2;  // as the compilers count: 3 is the first

    uintptr_t at_;
};

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
