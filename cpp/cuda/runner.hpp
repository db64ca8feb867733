// The steps of a plan whose tensors lie on a CUDA device.
#pragma once

#include <vector>

#include "../kernel/backend.hpp"
#include "memory.hpp"
#include "table.hpp"

namespace fusedstep::cuda {

class Runner : public Stepper {
public:
    explicit Runner(int device) : device_(device) {}

    bool step(Plan& plan, Stream stream) override;
    bool capturing(Stream stream) override;
    Progress fetch(Plan& plan) override;
    void forget() override { steps_known_ = false; }
    bool uncertain() const override { return skips_ || captured_; }
    void put_rates(const Plan& plan, Stream stream) override;

private:
    /// A launch for all tasks with these in common.
    struct Kind {
        int rule;
        Type type;
        bool bare;
        bool operator==(const Kind&) const = default;
    };

    void lay_out(const Plan& plan, Stream stream);
    void put(Memory& memory, const void* data, size_t bytes, Stream stream);
    void add(const Kind& kind);
    void find_kinds(const Plan& plan);

    int device_;
    std::vector<Task> tasks_, laid_out_;
    std::vector<Kind> kinds_;
    Memory task_memory_, chunk_memory_, first_chunk_memory_, turn_memory_, step_memory_, rate_memory_, sum_memory_,
        square_memory_, progress_memory_;
    Table table_{};
    Progress seen_;
    std::vector<double> rates_;
    std::vector<int64_t> certain_steps_;  ///< that the device had counted when it was last asked
    bool steps_known_ = false;            ///< the device has the plan's counters
    bool skips_ = false, captured_ = false;
    Stream stream_ = nullptr;  ///< of the last step
};

}  // namespace fusedstep::cuda
