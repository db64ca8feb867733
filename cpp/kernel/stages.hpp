// What a step is asked to do beside the update, for all its tensors.
#pragma once

#include <limits>
#include <optional>

namespace fusedstep {

struct Stages {
    enum OnNonfinite { propagate, skip, raise };

    /// Added to the norm that is divided by, as in torch.nn.utils.clip_grad_norm_.
    static constexpr double clip_eps = 1e-6;

    double grad_scale = 1;  ///< gradients come multiplied with it
    std::optional<double> max_norm, max_norm_per_tensor;
    std::optional<double> norm;  ///< of the unscaled gradients, where the caller knows it
    double clip_value = std::numeric_limits<double>::infinity();
    OnNonfinite on_nonfinite = propagate;
    bool zero_grad = false, flush_denormals = false;

    /// Whether the gradients' squares must be added up before anything else.
    bool measure() const { return max_norm_per_tensor || (!norm && (max_norm || on_nonfinite != propagate)); }

    /// Whether anything happens to gradients or to what is stored.
    bool touch() const {
        return grad_scale != 1 || max_norm || max_norm_per_tensor || zero_grad || flush_denormals ||
               clip_value < std::numeric_limits<double>::infinity();
    }

    /// f of g ← f·g, for gradients of this norm. A NaN stays.
    double factor(std::optional<double> most, double norm) const {
        if (!most) return 1 / grad_scale;
        const double clip = *most / (norm + clip_eps);
        return (clip > 1 ? 1 : clip) / grad_scale;
    }
};

/// What became of them.
struct Outcome {
    double norm = std::numeric_limits<double>::quiet_NaN();  ///< NaN where nobody asked for it
    double factor = 1;                                       ///< the smallest of the tensors'
    bool skipped = false;
};

}  // namespace fusedstep
