// What a step is asked to do beside the update, for all its tensors.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "buffers.hpp"

namespace fusedstep {

/// A number that may be missing; std::optional is not for GPUs.
struct Maybe {
    double value = 0;
    bool given = false;

    Maybe() = default;
    Maybe(double number) : value(number), given(true) {}
    FS_ANYWHERE explicit operator bool() const { return given; }
    FS_ANYWHERE double operator*() const { return value; }
};

/// A number in a device's memory, read there when the step runs.
struct Live {
    const void* at = nullptr;
    Type type = Type::float64;

    FS_ANYWHERE explicit operator bool() const { return at; }
    FS_ANYWHERE double operator*() const {
        return type == Type::float32 ? double(*static_cast<const float*>(at)) : *static_cast<const double*>(at);
    }
};

struct Stages {
    enum OnNonfinite { propagate, skip, raise };

    /// Added to the norm that is divided by, as in torch.nn.utils.clip_grad_norm_.
    static constexpr double clip_eps = 1e-6;

    static constexpr double nan = std::numeric_limits<double>::quiet_NaN();

    double grad_scale = 1;  ///< gradients come multiplied with it
    Maybe max_norm, max_norm_per_tensor;
    Maybe norm;                  ///< of the unscaled gradients, where the caller knows it
    Live live_scale, live_norm;  ///< in the place of these two, where they are given
    double clip_value = std::numeric_limits<double>::infinity();
    OnNonfinite on_nonfinite = propagate;
    bool zero_grad = false, flush_denormals = false;

    /// Whether the gradients' squares must be added up before anything else.
    FS_ANYWHERE bool measure() const {
        return max_norm_per_tensor || (!norm && (max_norm || on_nonfinite != propagate));
    }

    /// Whether what becomes of the step is known only where it runs.
    FS_ANYWHERE bool pending() const { return measure() || live_scale || live_norm; }

    /// With the numbers of the device's memory in their places. What nobody could give as a number is NaN; of such a
    /// scale the norm is NaN as well, so that no step is taken for a finite one.
    FS_ANYWHERE Stages read() const {
        Stages found = *this;
        if (live_scale) found.grad_scale = *live_scale;
        if (live_norm) found.norm.value = *live_norm;
        if (found.norm.value < 0) found.norm.value = nan;
        if (!(found.grad_scale > 0) || !std::isfinite(found.grad_scale)) found.grad_scale = found.norm.value = nan;
        found.live_scale = found.live_norm = {};
        return found;
    }

    /// Whether every tensor carries something along: gradients are measured, or they or what is stored are changed.
    bool needs_cargo() const {
        return measure() || grad_scale != 1 || max_norm || zero_grad || flush_denormals ||
               clip_value < std::numeric_limits<double>::infinity();
    }

    /// f of g ← f·g, for gradients of this norm. A NaN stays.
    FS_ANYWHERE double factor(Maybe most, double size) const {
        if (!most) return 1 / grad_scale;
        const double clip = *most / (size + clip_eps);
        return (clip > 1 ? 1 : clip) / grad_scale;
    }
};

/// What became of a step.
struct Outcome {
    double norm = std::numeric_limits<double>::quiet_NaN();  ///< NaN where nobody asked for it
    double factor = 1;                                       ///< the smallest of the tensors'
    bool skipped = false;
};

/// Of two factors; a NaN stays.
struct Smaller {
    FS_ANYWHERE double operator()(double x, double y) const { return x < y || std::isnan(x) ? x : y; }
};

/// The tensors' Σg², for one thread.
struct Measured {
    const double* squares;  ///< read only where stages measure
    int64_t count;

    double total() const {
        double all = 0;
        for (int64_t i = 0; i < count; ++i) all += squares[i];
        return all;
    }
    template <class Take>
    void each(const Take& take) const {
        for (int64_t i = 0; i < count; ++i) take(i);
    }
};

/// What becomes of a step. `scale(i, f)` is told the factor of each tensor that `measured` goes through, unless the
/// step is skipped, and the outcome's is the smallest of those.
template <class Tensors, class Scale>
FS_ANYWHERE Outcome settle(const Stages& stages, const Tensors& measured, const Scale& scale) {
    Outcome outcome;
    if (stages.norm)
        outcome.norm = *stages.norm;
    else if (stages.measure())
        outcome.norm = std::sqrt(measured.total()) / stages.grad_scale;
    if (stages.on_nonfinite != Stages::propagate && !std::isfinite(outcome.norm)) {
        outcome.skipped = true;
        return outcome;
    }
    const double of_all = stages.factor(stages.max_norm, outcome.norm);
    outcome.factor = stages.max_norm_per_tensor && measured.count > 0 ? HUGE_VAL : of_all;
    measured.each([&](int64_t i) {
        double factor = of_all;
        if (stages.max_norm_per_tensor) {
            factor = stages.factor(stages.max_norm_per_tensor, std::sqrt(measured.squares[i]) / stages.grad_scale);
            outcome.factor = Smaller()(outcome.factor, factor);
        }
        scale(i, factor);
    });
    return outcome;
}

}  // namespace fusedstep
