#include "territory.hpp"

#include <pybind11/pybind11.h>

#include <algorithm>
#include <iterator>

namespace fusedstep::bindings {
namespace {

namespace py = pybind11;

bool is_before(const Span& a, const Span& b) { return a.begin < b.begin; }

}  // namespace

std::vector<Span> Territory::admitted(std::vector<Span> spans, const std::string& optimizer, const Names& names) const {
    std::erase_if(spans, [](const Span& span) { return span.begin == span.end; });
    std::sort(spans.begin(), spans.end(), is_before);
    const auto keep_apart = [&](const Span& one, const Span& later) {
        if (later.begin < one.end)
            throw py::value_error(optimizer + ": " + names(one) + " and " + names(later) +
                                  " must not overlap in memory, got arrays that share " +
                                  std::to_string(std::min(one.end, later.end) - later.begin) + " bytes");
    };
    for (size_t i = 0; i < spans.size(); ++i) {
        if (i) keep_apart(spans[i - 1], spans[i]);
        const auto next = std::upper_bound(spans_.begin(), spans_.end(), spans[i], is_before);
        if (next != spans_.begin()) keep_apart(*std::prev(next), spans[i]);
        if (next != spans_.end()) keep_apart(spans[i], *next);
    }
    return spans;
}

void Territory::claim(std::vector<Span> spans, const std::string& optimizer, const Names& names) {
    const std::vector<Span> added = admitted(std::move(spans), optimizer, names);
    const auto middle = std::ptrdiff_t(spans_.size());
    spans_.insert(spans_.end(), added.begin(), added.end());
    std::inplace_merge(spans_.begin(), spans_.begin() + middle, spans_.end(), is_before);
}

void Territory::keep_out(const void* data, int64_t bytes, const Where& where, const Names& names) const {
    if (bytes == 0) return;
    const char *const begin = static_cast<const char*>(data), *const end = begin + bytes;
    const auto next = std::upper_bound(spans_.begin(), spans_.end(), begin,
                                       [](const char* place, const Span& span) { return place < span.begin; });
    const Span* hit = nullptr;
    if (next != spans_.end() && next->begin < end) hit = &*next;
    if (next != spans_.begin() && std::prev(next)->end > begin) hit = &*std::prev(next);
    if (hit)
        throw py::value_error(where.text() + " must not overlap " + names(*hit) +
                              " in memory, got an array that shares its memory");
}

}  // namespace fusedstep::bindings
