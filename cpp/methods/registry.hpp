// The one list of methods: a new one joins here.
#pragma once

#include <variant>

#include "adabelief.hpp"
#include "adadelta.hpp"
#include "adagrad.hpp"
#include "adam.hpp"
#include "adamax.hpp"
#include "adaptive.hpp"
#include "lion.hpp"
#include "nadam.hpp"
#include "radam.hpp"
#include "rmsprop.hpp"
#include "sgd.hpp"
#include "yogi.hpp"

namespace fusedstep {

using Method = std::variant<method::SGD, method::Adagrad, method::WindowedAdagrad, method::RMSprop, method::Adadelta,
                            method::Adam, method::RAdam, method::NAdam, method::Adamax, method::Lion, method::AdaBelief,
                            method::Yogi, method::Adaptive>;

/// A method changes its rule at most once, and not after this step.
constexpr int64_t late_step = int64_t(1) << 40;

}  // namespace fusedstep
