// The groups of a step, as the device is told of them: whose tasks are which, and the options that hold for them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <variant>
#include <vector>

#include "memory.hpp"
#include "prepare.hpp"

namespace fusedstep::cuda {

struct Catalog {
    std::vector<Members> members;
    std::vector<std::byte> options;  ///< one behind the other
    std::vector<int> methods;        ///< each that some group has, by its place among all

    bool operator==(const Catalog&) const = default;

    static Catalog of(const std::vector<Group>& groups, const std::vector<Task>& tasks) {
        Catalog made;
        for (size_t begin = 0; begin < tasks.size();) {
            const int number = tasks[begin].group;
            size_t end = begin;
            while (end < tasks.size() && tasks[end].group == number) ++end;
            const Group& group = groups[size_t(number)];
            const int method = int(group.method.index());
            made.members.push_back({number, int(begin), int(end), method, made.write(group)});
            if (std::find(made.methods.begin(), made.methods.end(), method) == made.methods.end())
                made.methods.push_back(method);
            begin = end;
        }
        return made;
    }

private:
    /// Byte by byte, as what lies between them is compared as well. Returns where they begin.
    int64_t write(const Group& group) {
        const size_t at = options.size();
        std::visit(
            [&](const auto& method) {
                using Own = Options<std::decay_t<decltype(method)>>;
                static_assert(std::is_trivially_copyable_v<Own>);
                options.resize(at + (sizeof(Own) + most_aligned - 1) / most_aligned * most_aligned);
                std::memcpy(&options[at] + offsetof(Own, method), &method, sizeof(method));
                std::memcpy(&options[at] + offsetof(Own, decay), &group.decay, sizeof(group.decay));
            },
            group.method);
        return int64_t(at);
    }

    static constexpr size_t most_aligned = alignof(std::max_align_t);
};

/// A catalog in the device's memory.
class Listing {
public:
    const Catalog& catalog() const { return catalog_; }

    void put(const Catalog& catalog, Stream stream) {
        if (catalog == catalog_) return;
        catalog_ = {};  // until all of the new one is there
        members_.put(catalog.members.data(), catalog.members.size() * sizeof(Members), stream);
        options_.put(catalog.options.data(), catalog.options.size(), stream);
        catalog_ = catalog;
    }

    void fill(Table& table) const {
        table.members = members_.as<const Members>();
        table.member_count = int(catalog_.members.size());
        table.options = options_.as<const char>();
    }

private:
    Catalog catalog_;
    Memory members_, options_;
};

}  // namespace fusedstep::cuda
