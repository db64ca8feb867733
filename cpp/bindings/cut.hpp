// Shortens a list whose items may run anything at their end. Nothing is allocated: there may be no memory.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace fusedstep::bindings {

/// Leaves so many, at most.
template <class Item>
void cut(std::vector<Item>& all, size_t count) {
    while (all.size() > count) {
        const Item last = std::move(all.back());
        all.pop_back();
    }
}

}  // namespace fusedstep::bindings
