// Memory that is written to: no two stretches may overlap, and nothing that is read may overlap them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "where.hpp"

namespace fusedstep::bindings {

/// A stretch of memory, and whose it is: an array of a tensor, by their numbers.
struct Span {
    const char* begin;
    const char* end;
    size_t tensor, array;

    Span(const void* data, int64_t bytes, size_t tensor, size_t array)
        : begin(static_cast<const char*>(data)), end(begin + bytes), tensor(tensor), array(array) {}
};

/// What an array is called, which is put together for a message only.
using Names = std::function<std::string(const Span&)>;

class Territory {
public:
    /// Throws if stretches overlap, each other or what is there.
    void check(std::vector<Span> spans, const std::string& optimizer, const Names& names) const {
        admitted(std::move(spans), optimizer, names);
    }

    /// Adds stretches, all or none.
    void claim(std::vector<Span> spans, const std::string& optimizer, const Names& names);

    /// Takes away those of this tensor and of the ones behind it.
    void leave(size_t tensor) {
        std::erase_if(spans_, [&](const Span& span) { return span.tensor >= tensor; });
    }

    /// Throws if something that is only read lies in it.
    void keep_out(const void* data, int64_t bytes, const Where& where, const Names& names) const;

private:
    /// Those that are not empty, sorted.
    std::vector<Span> admitted(std::vector<Span> spans, const std::string& optimizer, const Names& names) const;

    std::vector<Span> spans_;  ///< sorted, disjoint, none of them empty
};

}  // namespace fusedstep::bindings
