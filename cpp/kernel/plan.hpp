// A plan: the tensors of an optimizer, their groups and counters. It turns one step into a list of work.
#pragma once

#include <span>
#include <vector>

#include "../methods/decay.hpp"
#include "../methods/registry.hpp"
#include "buffers.hpp"

namespace fusedstep {

/// Parameters that share a method and its options.
struct Group {
    Method method;
    Decay decay;
    double lr = 0;
};

/// A parameter with its state.
struct Tensor {
    int group = 0;
    Type type = Type::float32;
    Device device;
    int64_t size = 0;
    Extent extent;
    Buffers buffers;  ///< `grad` is null in a step that skips this tensor
    Ring ring;
    double* carry = nullptr;  ///< the scalar that the method carries, if it has one
    int64_t step = 0;
};

/// One tensor in one step.
struct Work {
    const Update* update;
    Border border;
    Type type;
    int64_t size;
    int64_t offset;  ///< of the first element in the whole tensor
    Buffers buffers;
    Ring ring;  ///< with planes only where this step closes a round
};

class Plan {
public:
    std::vector<Group> groups;
    std::vector<Tensor> tensors;

    /// The work of the next step. It stays valid until the next call.
    std::span<const Work> prepare();

    /// Moves the counters of the prepared tensors: the step has happened.
    void advance();

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
    std::vector<int> moved_, update_of_;
    std::vector<Work> work_;
};

}  // namespace fusedstep
