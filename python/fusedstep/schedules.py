"""Learning-rate schedules: callables ``step -> lr``, where ``step`` is the number of an optimizer's steps so far.

Steps are counted from 0; one that was skipped as not finite is not counted. An optimizer takes any callable as its
``lr``. Those of this module check their arguments when they are made, print as the call that makes them, can be
compared and pickled, and keep no state, so that a resumed run goes on where it was. Where a schedule has an end, its
last value holds from there on.

>>> import numpy as np, fusedstep as fs
>>> from fusedstep.schedules import cosine, linear_warmup
>>> w = np.zeros(2)
>>> opt = fs.SGD(w, lr=linear_warmup(0.5, steps=2))
>>> opt.step(np.ones(2)); w
array([-0.25, -0.25])
>>> opt.step(np.ones(2)); w
array([-0.75, -0.75])

A plain function of the step is a schedule, too; this one restarts every 100 steps:

>>> annealed = cosine(0.1, steps=100)
>>> opt = fs.SGD(w, lr=lambda step: annealed(step % 100))
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from .in_numpy.double_double import multiply, power
from .options import Each, Function, at_least, choice, fraction, number, positive, rate, whole

__all__ = [
    "cosine",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "linear_warmup",
    "one_cycle",
    "per_epoch",
    "piecewise_constant",
    "polynomial",
    "step_decay",
]

ERRORS = """
    Raises:
        TypeError: an argument or the step has the wrong type.
        ValueError: an argument or the step is out of range, NaN or infinite.
    """


# What an argument may be; its default and its words stand with the schedule.
Number = Annotated[float, number(0.0, "")]
Positive = Annotated[float, positive(1.0, "")]
Ratio = Annotated[float, at_least(1.0, 1.0, "")]
Part = Annotated[float, fraction(0.0, "")]
Count = Annotated[int, whole(1, 1, "")]
Anneal = Annotated[Literal["cos", "linear"], choice("cos", "linear", doc="")]
Rate = Annotated[float | Callable[[int], float], rate(0.0)]
Inner = Annotated[Callable[[int], float], Function(None, "", expected="a schedule (a callable: step -> lr)")]
Boundaries = Annotated[Sequence[int], Each((), "", of=whole(1, 1, ""), expected="increasing integers ≥ 1")]
Numbers = Annotated[Sequence[float], Each((), "", of=number(0.0, ""), expected="finite numbers ≥ 0")]

STEP = whole(0, 0, "")


class Schedule:
    """What every schedule has. A subclass lists its arguments and says its value at a step."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__doc__:
            cls.__doc__ += ERRORS

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            (option,) = hint.__metadata__
            object.__setattr__(self, name, option.take(type(self).__name__, name, getattr(self, name)))

    def __call__(self, step: int) -> float:
        return self._at(STEP.take(type(self).__name__, "step", step))

    def _at(self, t: int) -> float:
        raise NotImplementedError

    def _refusal(self, name: str, expected: str, value: Any) -> str:
        return f"{type(self).__name__}: {name} must be {expected}, got {value!r}"


@dataclass(frozen=True)
class piecewise_constant(Schedule):
    """Piecewise constant: a value for each stretch of steps.

    .. math:: η_t = values[k], \\quad k = \\text{the number of boundaries} ≤ t

    A boundary belongs to the later piece; the last piece goes on.

    Args:
        boundaries: the steps at which a new piece begins, increasing.
        values: η of each piece, one more than boundaries.

    >>> from fusedstep.schedules import per_epoch, piecewise_constant
    >>> epochs = piecewise_constant([10, 20], [0.1, 0.05, 0.01])
    >>> [epochs(t) for t in (0, 9, 10, 20, 35)]
    [0.1, 0.1, 0.05, 0.01, 0.01]
    >>> lr = per_epoch(epochs, steps_per_epoch=600)

    torch.optim.lr_scheduler.MultiStepLR and optax.piecewise_constant_schedule take factors for values. In
    Keras' PiecewiseConstantDecay a boundary belongs to the earlier piece.
    """

    boundaries: Boundaries
    values: Numbers

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(later <= sooner for sooner, later in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(self._refusal("boundaries", "increasing integers ≥ 1", self.boundaries))
        pieces = len(self.boundaries) + 1
        if len(self.values) != pieces:
            expected = f"{pieces} finite numbers ≥ 0, one more than boundaries"
            raise ValueError(self._refusal("values", expected, self.values))

    def _at(self, t: int) -> float:
        return self.values[bisect_right(self.boundaries, t)]


@dataclass(frozen=True)
class step_decay(Schedule):
    """Step decay: one multiplication every few steps.

    .. math:: η_t = η γ^{⌊t/s⌋}

    Args:
        lr: η, the first learning rate.
        step_size: s, the length of a piece in steps.
        gamma: γ, the factor between two pieces.

    >>> from fusedstep.schedules import step_decay
    >>> lr = step_decay(1.0, step_size=30, gamma=0.5)
    >>> [lr(t) for t in (0, 29, 30, 60)]
    [1.0, 1.0, 0.5, 0.25]

    As torch.optim.lr_scheduler.StepLR, except that torch rounds again with each piece; here the power is rounded once.
    """

    lr: Number
    step_size: Count
    gamma: Positive = 0.1

    def _at(self, t: int) -> float:
        return _grown(self.lr, self.gamma, t // self.step_size)


@dataclass(frozen=True)
class exponential(Schedule):
    """Exponential decay, or growth: one multiplication every step.

    .. math:: η_t = η γ^t

    Args:
        lr: η, the first learning rate.
        gamma: γ, the factor per step; above 1 the learning rate grows, as in a search for the largest.

    >>> from fusedstep.schedules import exponential
    >>> lr = exponential(1.0, gamma=0.5)
    >>> [lr(t) for t in (0, 1, 2, 10)]
    [1.0, 0.5, 0.25, 0.0009765625]

    As torch.optim.lr_scheduler.ExponentialLR, with a power that is rounded once. Keras' ExponentialDecay and
    optax.exponential_decay take the factor per ``decay_steps`` or ``transition_steps``: γ is its root.
    """

    lr: Number
    gamma: Positive

    def _at(self, t: int) -> float:
        return _grown(self.lr, self.gamma, t)


@dataclass(frozen=True)
class inverse_time(Schedule):
    """Inverse time: the learning rate falls as 1/t.

    .. math:: η_t = \\frac{η}{1 + κt}

    Args:
        lr: η, the first learning rate.
        decay_rate: κ, per step: after 1/κ steps the learning rate is half.

    >>> from fusedstep.schedules import inverse_time
    >>> lr = inverse_time(1.0, decay_rate=0.5)
    >>> [lr(t) for t in (0, 2, 6)]
    [1.0, 0.5, 0.25]

    As ``lr_decay`` of torch.optim.Adagrad; torch has no such scheduler. κ is ``decay_rate / decay_steps`` of
    Keras' InverseTimeDecay.
    """

    lr: Number
    decay_rate: Number

    def _at(self, t: int) -> float:
        return self.lr / (1.0 + self.decay_rate * t)


@dataclass(frozen=True)
class inverse_sqrt(Schedule):
    """Inverse square root: the learning rate falls as 1/√t.

    .. math:: η_t = \\frac{η}{\\sqrt{1 + t/τ}}

    Args:
        lr: η, the first learning rate.
        timescale: τ, in steps: after 3τ steps the learning rate is half.

    >>> from fusedstep.schedules import inverse_sqrt, linear_warmup
    >>> lr = inverse_sqrt(1.0, timescale=4)
    >>> [lr(t) for t in (0, 12, 60)]
    [1.0, 0.5, 0.25]

    After T steps of warm-up, with τ = T, it is the Transformer's η√(T/t):

    >>> lr = linear_warmup(inverse_sqrt(1.0, timescale=4), steps=4)
    >>> [lr(t) for t in (0, 3, 4, 16, 64)]
    [0.25, 1.0, 1.0, 0.5, 0.25]

    Source: Vaswani et al. 2017, arXiv:1706.03762, §5.3. torch has no such scheduler.
    """

    lr: Number
    timescale: Positive = 1.0

    def _at(self, t: int) -> float:
        return self.lr / math.sqrt(1.0 + t / self.timescale)


@dataclass(frozen=True)
class polynomial(Schedule):
    """Polynomial decay; a straight line with power 1.

    .. math:: η_t = η_T + (η − η_T)(1 − t/T)^p, \\quad t ≤ T

    Args:
        lr: η, the first learning rate.
        steps: T, the step from which the last learning rate holds.
        power: p. A whole one gives the same bits on every machine.
        end_lr: η_T, the last learning rate.

    >>> from fusedstep.schedules import polynomial
    >>> lr = polynomial(1.0, steps=4, power=2)
    >>> [lr(t) for t in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]

    As torch.optim.lr_scheduler.PolynomialLR, which ends at 0. Keras' PolynomialDecay ends at 1e-4 by default.
    """

    lr: Number
    steps: Count
    power: Positive = 1.0
    end_lr: Number = 0.0

    def _at(self, t: int) -> float:
        rest = (self.steps - min(t, self.steps)) / self.steps
        return _between(self.lr, self.end_lr, _power(rest, self.power))


@dataclass(frozen=True)
class cosine(Schedule):
    """Cosine annealing: half a wave, from the first learning rate to the last.

    .. math:: η_t = η_T + (η − η_T) \\tfrac12 (1 + \\cos(πt/T)), \\quad t ≤ T

    Args:
        lr: η, the first learning rate.
        steps: T, the step from which the last learning rate holds.
        end_lr: η_T, the last learning rate.

    >>> from fusedstep.schedules import cosine
    >>> lr = cosine(1.0, steps=100, end_lr=0.5)
    >>> [lr(t) for t in (0, 50, 100, 1000)]
    [1.0, 0.75, 0.5, 0.5]

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983. As torch.optim.lr_scheduler.CosineAnnealingLR up to T;
    after it torch's rises again. Keras' CosineDecay and optax.cosine_decay_schedule take η_T as a part of η.
    """

    lr: Number
    steps: Count
    end_lr: Number = 0.0

    def _at(self, t: int) -> float:
        return _between(self.lr, self.end_lr, _wave(min(t, self.steps) / self.steps))


@dataclass(frozen=True)
class one_cycle(Schedule):
    """One cycle: up to the largest learning rate, then down to far below the first.

    .. math:: η_0 = η_{\\max}/d \\;↗\\; η_{\\max} \\text{ at } t = pT − 1 \\;↘\\; η_{T−1} = η_0/f

    Args:
        max_lr: η_max, the largest learning rate.
        steps: T, the length of the run in steps; the last learning rate holds from step T − 1 on.
        pct_start: p, the part of the run in which the learning rate rises. The peak may lie between steps.
        anneal_strategy: "cos" or "linear": both ramps are half a cosine wave, or straight.
        div_factor: d, what η_max is divided by for the first learning rate.
        final_div_factor: f, what the first learning rate is divided by for the last.

    >>> from fusedstep.schedules import one_cycle
    >>> lr = one_cycle(1.0, steps=10, pct_start=0.5, div_factor=4, final_div_factor=8)
    >>> [lr(t) for t in (0, 2, 4, 9, 100)]
    [0.25, 0.625, 1.0, 0.03125, 0.03125]

    Source: Smith & Topin 2017, arXiv:1708.07120. As torch.optim.lr_scheduler.OneCycleLR with two phases, but
    the momentum stays and steps after T are allowed. optax.cosine_onecycle_schedule peaks at ⌊pT⌋, ends at T.
    """

    max_lr: Number
    steps: Count
    pct_start: Part = 0.3
    anneal_strategy: Anneal = "cos"
    div_factor: Ratio = 25.0
    final_div_factor: Ratio = 1e4

    def _at(self, t: int) -> float:
        first, peak, last = self.max_lr / self.div_factor, self.pct_start * self.steps - 1, self.steps - 1
        if t < peak:
            start, end, done = first, self.max_lr, t / peak
        else:
            start, end = self.max_lr, first / self.final_div_factor
            done = (min(t, last) - peak) / (last - peak)
        return _between(start, end, _wave(done) if self.anneal_strategy == "cos" else 1.0 - done)


@dataclass(frozen=True)
class linear_warmup(Schedule):
    """Linear warm-up: an even rise in the first steps, then a constant or another schedule.

    .. math:: η_t = \\frac{t+1}{T} \\text{lr}(0), \\quad t < T; \\qquad η_t = \\text{lr}(t−T), \\quad t ≥ T

    The rise takes T steps. Its last one, t = T − 1, has the full learning rate; then, at t = T, the schedule
    begins at its own step 0. A number is a constant schedule: η·min(1, (t+1)/T).

    Args:
        lr: η, a number, or the schedule that comes after the warm-up.
        steps: T, the length of the warm-up in steps.

    >>> from fusedstep.schedules import cosine, linear_warmup
    >>> lr = linear_warmup(1.0, steps=4)
    >>> [lr(t) for t in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    >>> lr = linear_warmup(cosine(1.0, steps=2), steps=4)
    >>> [lr(t) for t in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.0, 0.0]

    As torch.optim.lr_scheduler.LinearLR with ``start_factor=1/T, total_iters=T-1``, joined as by SequentialLR
    with ``milestones=[T]``. optax and Keras rise from a given value at t = 0 to the full one at t = T.
    """

    lr: Rate
    steps: Count

    def _at(self, t: int) -> float:
        lr = self.lr(max(0, t - self.steps)) if callable(self.lr) else self.lr
        return lr * min(1.0, (t + 1) / self.steps)


@dataclass(frozen=True)
class per_epoch(Schedule):
    """Another schedule, counted in epochs.

    .. math:: η_t = \\text{schedule}(⌊t/n⌋)

    Args:
        schedule: a schedule that is called with the number of the epoch, from 0.
        steps_per_epoch: n, the number of steps in an epoch.

    >>> from fusedstep.schedules import exponential, per_epoch
    >>> lr = per_epoch(exponential(1.0, gamma=0.5), steps_per_epoch=100)
    >>> [lr(t) for t in (0, 99, 100, 250)]
    [1.0, 1.0, 0.5, 0.25]

    In torch, ``scheduler.step()`` is called once per epoch instead.
    """

    schedule: Inner
    steps_per_epoch: Count

    def _at(self, t: int) -> float:
        return self.schedule(t // self.steps_per_epoch)


def _power(base: float, exponent: float) -> float:
    """A whole exponent goes without libm's pow, whose last bit depends on the machine. NaN near the largest float."""
    if exponent % 1:
        return math.pow(base, exponent)
    exponent = min(exponent, 2**63)  # where the power of the float next to 1 is 0, or beyond all floats
    # Two factors that stay in the cache of `power`: the next step's costs one multiplication.
    low = int(exponent) % 256
    return multiply(power(base, int(exponent) - low), power(base, low))[0]


def _grown(lr: float, base: float, exponent: int) -> float:
    """lr · baseᵉ; where the power alone is beyond all floats, half of it after the other."""
    if lr in (0, math.inf):
        return lr
    value = lr * (_power(base, exponent) if exponent != 1 else base)
    if not math.isnan(value):
        return value
    half = exponent // 2
    return _grown(_grown(lr, base, half), base, exponent - half)


def _wave(done: float) -> float:
    """Half a cosine wave, from 1 to 0, both reached exactly."""
    return (1.0 + math.cos(math.pi * done)) / 2.0


def _between(start: float, end: float, weight: float) -> float:
    """``end + (start - end) * weight`` would miss the start by a rounding."""
    return start * weight + end * (1.0 - weight)
