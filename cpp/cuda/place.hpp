// Where the elements of one thread lie.
#pragma once

#include <type_traits>

#include "../rules/stage.hpp"
#include "../storage/code8.hpp"

namespace fusedstep::cuda {

constexpr int row = 128;
static_assert(row == Code8::block);

/// The elements of one thread.
struct Place {
    int64_t at;       ///< of the first in the array
    uint32_t number;  ///< the lower half of its number in the whole tensor
    int left;         ///< elements from there to the array's end; not above zero where there are none
    bool whole;       ///< all exist, and four can be read at once
};

/// Elements that lie side by side, and are read together.
constexpr int piece = 4;

/// Those of a thread in the row that begins at an element of an array of `size`.
template <class Index, class Team>
FS_RULE Place place_in(Index row_begin, Index size, int64_t offset, bool aligned, Team team) {
    const Index at = row_begin + team.lane() * piece;
    const auto left = std::make_signed_t<Index>(size - at);
    return {int64_t(at), uint32_t(offset) + uint32_t(at), left < row ? int(left) : row,
            aligned && row_begin + row <= size};
}

}  // namespace fusedstep::cuda
