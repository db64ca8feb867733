// A plan: the tensors of an optimizer, their groups and counters. It turns one step into a list of work.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "../methods/registry.hpp"
#include "stages.hpp"
#include "work.hpp"

namespace fusedstep {

/// Parameters that share a method and its options.
struct Group {
    Method method;
    Decay decay;
    double lr = 0;

    Update at(int64_t step, double carry) const {
        return std::visit([&](const auto& own) { return own.at({step, lr, carry}); }, method);
    }
    States states() const {
        return std::visit([](const auto& own) { return own.states(); }, method);
    }
};

/// A parameter with its state.
struct Tensor {
    int group = 0;
    Type type = Type::float32;  ///< that its rule calculates in
    int64_t size = 0;
    Extent extent;
    Buffers buffers;  ///< `grad` is null in a step that skips this tensor
    Cargo cargo;      ///< its formats and its average; `grad`, `copy` and `zero` are the step's
    Ring ring;
    double* carry = nullptr;  ///< the scalar that the method carries, if it has one
    int64_t step = 0;

    /// Every array is of this type until its format says otherwise.
    void calculate_in(Type real) {
        type = real;
        cargo.param = cargo.grad = {real};
        for (Format& state : cargo.state) state = {real};
    }
};

class Plan {
public:
    std::vector<Group> groups;
    std::vector<Tensor> tensors;
    Stages stages;    ///< of the next step
    Outcome outcome;  ///< of the last
    uint64_t seed = 0;
    int64_t version = 0;  ///< another one after a change of all but gradients, stages, rates and counters
    uint64_t bound = 0;   ///< if not 0: gradients and copies are those of every step with the same number

    /// The work of the next step. It stays valid until the next call.
    std::span<const Work> prepare();

    /// Settles what becomes of the prepared step, with Σg² of every tensor of its work where the stages ask for that.
    /// False where the step is skipped.
    bool settle(std::span<const double> squares);

    /// Moves the counters of the prepared tensors: the step has happened.
    void advance();

    /// What the next step carries along through a tensor, but for a factor that its norms decide.
    Cargo cargo_of(const Tensor& tensor, int64_t step) const;

private:
    struct Prepared {
        int group;
        int64_t step;
        double carry;
        Update update;
        Border border;
    };

    const Prepared& prepared(const Tensor& tensor);

    std::vector<Prepared> updates_;
    std::vector<size_t> first_;  ///< among these, by group
    std::vector<std::pair<Tensor*, const Prepared*>> moved_;
    std::vector<Work> work_;
    std::vector<Cargo> cargo_;
};

}  // namespace fusedstep
