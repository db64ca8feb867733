// Memory that is asked for while other memory is worked on. Under the conditions of loops.hpp.
#pragma once

#include "loops.hpp"

namespace fusedstep::FUSEDSTEP_TARGET {
namespace {

/// Prefetches an array from an element on; addresses behind its end do no harm. The processor's own prefetcher stops at
/// the end of a page, and does not run while a block is read for the second time.
template <class Element>
class Ahead {
public:
    static constexpr int page = int(4096 / sizeof(Element));

    RULE Ahead(const Element* values, int first)
        : at_(reinterpret_cast<uintptr_t>(values) + uintptr_t(first) * sizeof(Element)) {}

    /// Prefetches so many elements more.
    RULE void ask(int count) {
        const uintptr_t end = at_ + uintptr_t(count) * sizeof(Element);
#if !defined(_MSC_VER)
        for (uintptr_t line = at_; line < end; line += 64) __builtin_prefetch(reinterpret_cast<const void*>(line));
#endif
        at_ = end;
    }

private:
    uintptr_t at_;
};

}  // namespace
}  // namespace fusedstep::FUSEDSTEP_TARGET
