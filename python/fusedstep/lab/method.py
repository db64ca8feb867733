"""The methods that are compared, with the hyper-parameters of the documents that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import methods
from ..optimizer import Optimizer


@dataclass(frozen=True)
class Method:
    """A class of optimizers and its options; with `lookahead` it wants its gradients at `Optimizer.lookahead()`."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    lookahead: bool = False

    def start(self, params: Any, convention: str) -> Optimizer:
        return getattr(methods, self.kind)(params, convention=convention, **self.options)

    def having(self, **options: Any) -> Method:
        """The same method with other options."""
        return Method(self.kind, {**self.options, **options}, self.lookahead)


Methods = dict[str, Method]

#: What the documents print: momentum, AdaGrad, RMSProp, Adam. Their relatives get the same; the rest is the papers'.
DOCUMENTED: Methods = {
    "SGD": Method("SGD", {"lr": 1e-2}),
    "momentum": Method("SGD", {"lr": 1e-2, "momentum": 0.9}),
    "NAG": Method("SGD", {"lr": 1e-2, "momentum": 0.9, "nesterov": True}),
    "NAG-lookahead": Method("SGD", {"lr": 1e-2, "momentum": 0.9}, lookahead=True),
    "AdaGrad": Method("Adagrad", {"lr": 1e-2}),
    "windowed-AdaGrad": Method("WindowedAdagrad", {"lr": 1e-2}),
    "RMSProp": Method("RMSprop", {"lr": 1e-4, "alpha": 0.9}),
    "Adadelta": Method("Adadelta"),
    "Adam": Method("Adam", {"lr": 1e-4, "betas": (0.9, 0.999)}),
    "RAdam": Method("RAdam", {"lr": 1e-4, "betas": (0.9, 0.999)}),
}


def documented(*names: str) -> Methods:
    """Those of `DOCUMENTED` that are named."""
    return {name: DOCUMENTED[name] for name in names}
