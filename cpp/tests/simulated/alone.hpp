// The team of one: a thread that holds what a warp would.
#pragma once

#include "../../cuda/norm.hpp"

namespace fusedstep::cuda {

struct Alone {
    static constexpr int lanes = 1, rows = 1;

    template <class Pack>
    static void write(void* to, const Pack& pack) {
        *static_cast<Pack*>(to) = pack;
    }

    static void* in_device_memory(void* address) { return address; }
    static void* kept(void* address) { return address; }
    static void ask(const void*) {}

    int lane() const { return 0; }
    int row() const { return 0; }
    bool any(bool mine) const { return mine; }
    uint32_t largest(uint32_t mine) const { return mine; }
    double from(double mine, int) const { return mine; }
    void meet() const {}

    template <class Join>
    double reduce(double (&numbers)[Lanes<Alone>::held], Join join) const {
        for (int half = Lanes<Alone>::held / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) numbers[i] = join(numbers[i], numbers[i + half]);
        return numbers[0];
    }

    template <class Join>
    double joined(double mine, Join) const {
        return mine;
    }

    void count(uint32_t& counter) const { ++counter; }
};

}  // namespace fusedstep::cuda
