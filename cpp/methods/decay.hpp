// What every method shares: weight decay in its three placements, and the gradient's sign.
#pragma once

#include "../rules/rule.hpp"

namespace fusedstep {

/// The numbers of a step that stand outside the rule: g ← sign·g, then g ← g + coupled·θ or θ ← shrink·θ.
struct Border {
    double sign = 1, coupled = 0, shrink = 1;
};

struct Decay {
    enum Kind { coupled, decoupled, fully_decoupled };

    double weight_decay = 0;
    Kind kind = coupled;
    double max_lr = 0;
    bool maximize = false;

    template <class Reader>
    void read(Reader& option) {
        option("weight_decay", weight_decay);
        option("decay", kind, {"coupled", "decoupled", "fully_decoupled"});
        option("max_lr", max_lr);
        option("maximize", maximize);
    }

    FS_ANYWHERE Border at(double lr, bool moves) const {
        Border border;
        border.sign = maximize ? -1 : 1;
        if (!moves || weight_decay == 0) return border;
        if (kind == coupled) border.coupled = weight_decay;
        if (kind == decoupled) border.shrink = 1 - lr * weight_decay;
        if (kind == fully_decoupled) border.shrink = 1 - lr / max_lr * weight_decay;
        return border;
    }
};

}  // namespace fusedstep
