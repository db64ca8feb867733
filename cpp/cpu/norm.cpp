#include "norm.hpp"

#include <algorithm>

#include "row.hpp"
#include "targets.hpp"

namespace fusedstep::cpu {
namespace {

constexpr int64_t worth_a_thread = 16, least_stretch = 8;

/// The blocks of one tensor. The first is short where a shard begins within one.
struct Cut {
    const void* data;
    Type type;
    int64_t offset, size;

    int64_t count() const { return (offset % sum_block + size + sum_block - 1) / sum_block; }
    int64_t begin(int64_t number) const { return std::max<int64_t>(0, number * sum_block - offset % sum_block); }

    double sum(const Norms& norms, int64_t number) const {
        const int64_t from = begin(number), to = std::min(begin(number + 1), size);
        const char* const values = static_cast<const char*>(data) + from * size_of(type);
        return norms[int(type)](values, to - from);
    }

    /// Page by page
    double add(const double* sums) const {
        const int64_t before = offset / sum_block;
        double all = 0;
        for (int64_t i = 0; i < count();) {
            const int64_t end = std::min((before + i) / sum_page * sum_page + sum_page - before, count());
            double page = 0;
            for (; i < end; ++i) page += sums[i];
            all += page;
        }
        return all;
    }
};

}  // namespace

std::vector<double> squares(std::span<const Work> work) {
    const Norms& norms = *active_target()->norms;
    std::vector<Cut> tensors;
    Row blocks;
    for (const Work& one : work) {
        tensors.push_back({one.buffers.grad, one.cargo->grad.type, one.offset, one.size});
        blocks.add(tensors.back().count());
    }
    std::vector<double> sums((size_t(blocks.size())));
    blocks.run(worth_a_thread, least_stretch, Way::up, [&](size_t tensor, int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) sums[size_t(blocks.begin(tensor) + i)] = tensors[tensor].sum(norms, i);
    });
    std::vector<double> squares;
    for (size_t i = 0; i < tensors.size(); ++i) squares.push_back(tensors[i].add(sums.data() + blocks.begin(i)));
    return squares;
}

}  // namespace fusedstep::cpu
