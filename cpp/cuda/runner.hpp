// The steps of a plan whose tensors lie on a CUDA device.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "../kernel/backend.hpp"
#include "layout.hpp"

namespace fusedstep::cuda {

/// What a device counts, and the learning rates.
struct Counters {
    Memory steps, progress, rates;
};

class Runner : public Stepper {
public:
    Runner(int device, bool wanders);

    Result step(Plan& plan, Stream stream) override;
    Progress fetch(Plan& plan, std::optional<Stream> last) override;
    void set_counters(const Plan& plan) override;
    bool uncertain() const override { return skips_ || captured_; }
    bool captured() const override { return captured_; }
    void put_rates(const Plan& plan, Stream stream) override;
    void displace(const Plan& plan, std::span<const Ahead> aheads, Stream stream) override;

private:
    /// A launch for all tasks with these in common.
    struct Kind {
        int rule;
        Type type;
        Path path;
        bool operator==(const Kind&) const = default;
    };

    /// What may differ from step to step while the plan's version stays.
    struct Given {
        const void* grad;
        Type grad_type;
        void* copy;
        Type copy_type;
        bool operator==(const Given&) const = default;
    };

    /// All that tasks are made from.
    struct Source {
        uint64_t bound = 0;
        std::vector<Given> given;
        int64_t version = -1;
        double clip_value = 0;
        bool zero_grad = false, flush_denormals = false;
        bool operator==(const Source& other) const {
            const bool alike = version == other.version && clip_value == other.clip_value &&
                               zero_grad == other.zero_grad && flush_denormals == other.flush_denormals;
            return alike && ((bound && bound == other.bound) || given == other.given);
        }
    };

    bool changed(const Plan& plan);
    void list_tasks(const Plan& plan);
    void lay_out(const Plan& plan, Stream stream);
    void count_from(const Plan& plan, Stream stream);
    void load(const Kind& kind);
    void add(const Kind& kind);
    void find_kinds(const Plan& plan);
    void tell(const Outcome& outcome, Stream stream);
    void launch(const Plan& plan, const Decision& decision, Stream stream);

    int device_;
    Source source_, source_now_;
    std::vector<Task> tasks_;
    std::vector<Kind> kinds_, loaded_;
    /// The last is the current one. Those before it are what graphs that were captured refer to.
    std::vector<std::unique_ptr<Layout>> layouts_;
    std::vector<std::unique_ptr<Counters>> counters_;
    std::vector<std::unique_ptr<Layout>> aheads_;  ///< of displace(), likewise
    Table table_{};
    std::optional<Mark> end_;  ///< of the last step, where the next may be in another stream
    Progress seen_;
    std::vector<double> rates_;
    std::vector<int64_t> certain_steps_;  ///< that the device had counted when it was last asked
    bool laid_out_ = false;               ///< the device has these tasks
    bool steps_known_ = false;            ///< and the plan's counters
    bool knows_last_ = false;             ///< the device has the outcome of the last step
    bool skips_ = false, captured_ = false;
};

}  // namespace fusedstep::cuda
