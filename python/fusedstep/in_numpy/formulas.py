"""Every formula in NumPy, operation by operation: this is what the kernels' results mean.

A formula takes the parameter, the gradient (after its sign and the coupled decay), the state by name, t, η and the
options; it updates parameter and state in place. Numbers are computed as Python floats and rounded to the arrays' type
once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from .double_double import correction, exponential, multiply, power, rho

Array = np.ndarray
State = Mapping[str, Any]
Options = Mapping[str, Any]
Formula = Callable[[Array, Array, State, int, float, Options], None]


def rounded(array: Array, *numbers: float) -> list[Any]:
    """Numbers in the array's type."""
    return [array.dtype.type(number) for number in numbers]


def average(m: Array, value: Array, a: float, b: float) -> None:
    """m ← a·m + b·value"""
    a, b = rounded(m, a, b)
    m[...] = a * m + b * value


def larger(x: Array, y: Array) -> Array:
    """The larger of two; a NaN on either side stays."""
    return np.where((x >= y) | (x != x), x, y)


def sign(x: Array) -> Array:
    """-1, 0 or 1; zero and NaN as they came."""
    one = x.dtype.type(1)
    return np.where(x > 0, one, np.where(x < 0, -one, x))


def root(v: Array, o: Options, corrected: float = 1.0) -> Array:
    """The denominator D of v / corrected, with ε where the options put it."""
    eps, eps_root, place = o["eps"], o.get("eps_root", 0.0), o.get("eps_place", "outside")
    inside, outside = (eps + eps_root, 0.0) if place == "inside" else (eps_root, eps)
    q = 1.0 if place == "hat" else 1 / math.sqrt(corrected)
    inside, q, outside = rounded(v, inside * corrected, q, outside)
    return np.sqrt(v + inside) * q + outside


def hat_factor(o: Options, corrected: float) -> float:
    return math.sqrt(corrected) if o.get("eps_place") == "hat" else 1.0


# φ: each returns u, the step before it is divided


def heavy_ball(g: Array, state: State, t: int, lr: float, o: Options, nesterov: bool) -> Array:
    if o["momentum"] == 0:
        return rounded(g, lr)[0] * g
    mu, v = o["momentum"], state["momentum_buffer"]
    inside = o["buffer"] == "lr_inside"
    if inside:
        b = lr
    elif o["buffer"] == "ema":
        b = 1 - mu
    else:
        b = 1.0 if t == 1 else 1 - o["dampening"]
    average(v, g, mu, b)
    step = 1.0 if inside else lr
    if not nesterov:
        return rounded(g, step)[0] * v
    of_buffer, of_gradient = rounded(g, step * mu, lr if o["buffer"] == "lr_outside" else step * b)
    return of_buffer * v + of_gradient * g


def ema(g: Array, state: State, beta: float, step: float) -> Array:
    average(state["exp_avg"], g, beta, 1 - beta)
    return rounded(g, step)[0] * state["exp_avg"]


# ψ: each moves its state and returns D


def total(g: Array, state: State, o: Options) -> Array:
    G = state["sum"]
    G[...] = G + g * g
    return total_root(G, o)


def total_root(G: Array, o: Options) -> Array:
    D = root(G, o)
    return np.where(G == 0, D.dtype.type(np.inf), D) if o.get("zero_at_zero") else D


def window(g: Array, state: State, t: int, o: Options) -> Array:
    """Squares of this round stand before the slot, suffix sums of the round before it behind."""
    ring, running, k = state["ring"], state["sum"], o["window"]
    slot = (t - 1) % k
    ring[slot] = g * g
    running[...] = running + ring[slot]
    if slot < k - 1:
        return window_root(running + ring[slot + 1], t, o)
    D = window_root(running, t, o)
    running[...] = 0
    for plane in range(k - 2, 0, -1):
        ring[plane] = ring[plane] + ring[plane + 1]
    return D


def window_root(squares: Array, t: int, o: Options) -> Array:
    return root(squares, o, float(min(t, o["window"])) if o["reduce"] == "mean" else 1.0)


def second_moment(g: Array, state: State, beta: float, o: Options, corrected: float, peak: bool) -> Array:
    v = state["exp_avg_sq"]
    average(v, g * g, beta, 1 - beta)
    if not peak:
        return root(v, o, corrected)
    of_hat = o["amsgrad_order"] == "v_hat"
    largest = state["max_exp_avg_sq"]
    largest[...] = larger(largest, rounded(v, 1 / corrected if of_hat else 1.0)[0] * v)
    return largest_root(largest, o, corrected)


def largest_root(largest: Array, o: Options, corrected: float) -> Array:
    if o["amsgrad_order"] == "v":
        return root(largest, o, corrected)
    if o["eps_place"] != "hat":
        return root(largest, o)
    # What is largest is corrected already; q puts back what the learning rate of this form takes.
    inside, q, outside = rounded(largest, o["eps_root"], math.sqrt(corrected), o["eps"])
    return np.sqrt(largest + inside) * q + outside


def infinity(g: Array, state: State, beta: float, o: Options) -> Array:
    u = state["exp_inf"]
    decay, eps = rounded(u, beta, o["eps"])
    size = np.where(g < 0, -g, g)
    if o["eps_place"] == "max":
        u[...] = larger(decay * u, size + eps)
        return u
    u[...] = larger(decay * u, size)
    return u + eps


# The methods


def sgd(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    param -= heavy_ball(g, state, t, lr, o, o["nesterov"])


def adagrad(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    lr = lr / (1 + (t - 1) * o["lr_decay"])
    param -= rounded(g, lr)[0] * g / total(g, state, o)


def windowed_adagrad(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    param -= rounded(g, lr)[0] * g / window(g, state, t, o)


def rmsprop(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    v, alpha = state["square_avg"], o["alpha"]
    average(v, g * g, alpha, 1 - alpha)
    variance = v
    if o["centered"]:
        mean = state["grad_avg"]
        average(mean, g, alpha, 1 - alpha)
        variance = v - mean * mean
        variance = np.where(variance < 0, variance.dtype.type(0), variance)
    D = root(variance, o)
    if o["momentum"] == 0:
        param -= rounded(g, lr)[0] * g / D
        return
    inside = o["momentum_lr"] == "inside"
    mu, b, c = rounded(g, o["momentum"], lr if inside else 1.0, 1.0 if inside else lr)
    buffer = state["momentum_buffer"]
    buffer[...] = mu * buffer + b * g / D
    param -= c * buffer


def adadelta(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    v, u = state["square_avg"], state["acc_delta"]
    eps, eta = rounded(g, o["eps"], lr)
    average(v, g * g, o["rho"], 1 - o["rho"])
    delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
    average(u, delta * delta, o["rho"], 1 - o["rho"])
    param -= eta * delta


def adam(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    corrected = correction(beta2, t) if o["bias_correction"] else 1.0
    D = second_moment(g, state, beta2, o, corrected, o["amsgrad"])
    moved = t - o["variance_warmup"]
    if moved <= 0:
        return
    unbiased = correction(beta1, moved) if o["bias_correction"] else 1.0
    param -= ema(g, state, beta1, lr * hat_factor(o, corrected) / unbiased) / D


def radam(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    unbiased, corrected = correction(beta1, t), correction(beta2, t)
    D = second_moment(g, state, beta2, o, corrected, peak=False)
    if rectified(t, o):
        limit, length = rho(beta2, t)
        r = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
        param -= ema(g, state, beta1, lr * r * hat_factor(o, corrected) / unbiased) / D
    elif o["below"] == "sgd":
        param -= ema(g, state, beta1, lr / unbiased)
    else:
        average(state["exp_avg"], g, beta1, 1 - beta1)


def rectified(t: int, o: Options) -> bool:
    length = rho(o["betas"][1], t)[1]
    after = o["rectify_after"]
    return length > 4 and (length > o["rectify_above"] if after is None else t > after)


@cache
def fading(psi: float) -> float:
    """0.96^ψ"""
    logarithm = -0.040821994520255166, -8.893492737632459e-19  # of the double 0.96
    return 0.0 if psi >= 2**15 else sum(exponential(multiply((psi, 0.0), logarithm)))


def nadam(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    slower = fading(o["momentum_decay"])
    now, following = (beta1 * (1 - 0.5 * sum(power(slower, i))) for i in (t, t + 1))
    product = float(state["mu_product"]) * now
    D = second_moment(g, state, beta2, o, correction(beta2, t), peak=False)
    average(state["exp_avg"], g, beta1, 1 - beta1)
    of_average, of_gradient = rounded(g, lr * following / (1 - product * following), lr * (1 - now) / (1 - product))
    param -= (of_average * state["exp_avg"] + of_gradient * g) / D
    state["mu_product"][...] = product


def adamax(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    u = ema(g, state, beta1, lr / correction(beta1, t))
    param -= u / infinity(g, state, beta2, o)


def lion(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    m, (old, new, eta) = state["exp_avg"], rounded(g, beta1, 1 - beta1, lr)
    param -= eta * sign(old * m + new * g)
    average(m, g, beta2, 1 - beta2)


def adabelief(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    s, (eps,) = state["exp_avg_var"], rounded(g, o["eps"])
    u = ema(g, state, beta1, lr / correction(beta1, t))
    surprise = g - state["exp_avg"]
    average(s, surprise * surprise, beta2, 1 - beta2)
    s[...] = s + eps
    param -= u / root(s, o, correction(beta2, t))


def yogi(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    beta1, beta2 = o["betas"]
    u = ema(g, state, beta1, lr / correction(beta1, t))
    v, square = state["exp_avg_sq"], g * g
    v[...] = v - rounded(v, 1 - beta2)[0] * (sign(v - square) * square)
    param -= u / root(v, o, correction(beta2, t))


def adaptive(param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    if o.get("eps_place") == "hat" and o.get("buffer") == "lr_inside":
        # The same D, without a factor of η that the buffer would keep for later steps.
        o = {**o, "eps_place": "outside", "eps": o["eps"] / math.sqrt(second_correction(t, o))}
    lr = adaptive_lr(lr, t, o)
    if o["phi"] == "gradient":
        u = rounded(g, lr)[0] * g
    elif o["phi"] == "ema":
        beta1 = o["betas"][0]
        u = ema(g, state, beta1, lr / (correction(beta1, t) if o["bias_correction"] else 1.0))
    else:
        u = heavy_ball(g, state, t, lr, o, o["phi"] == "nesterov")
    if o["psi"] == "sum":
        u = u / total(g, state, o)
    elif o["psi"] == "window":
        u = u / window(g, state, t, o)
    elif o["psi"] in ("ema", "ema_max"):
        u = u / second_moment(g, state, o["betas"][1], o, second_correction(t, o), o["psi"] == "ema_max")
    elif o["psi"] == "infinity":
        u = u / infinity(g, state, o["betas"][1], o)
    param -= u


def adaptive_lr(lr: float, t: int, o: Options) -> float:
    if o["psi"] == "sum":
        lr = lr / (1 + (t - 1) * o["lr_decay"])
    return lr * hat_factor(o, second_correction(t, o))


def second_correction(t: int, o: Options) -> float:
    averages = o["psi"] in ("ema", "ema_max")
    return correction(o["betas"][1], t) if averages and o["bias_correction"] else 1.0


def adaptive_rate(param: Array, state: State, t: int, o: Options, lr: float) -> Array:
    """η/ψ of `Adaptive` after step t, from its state; NaN before the first."""
    psi = o["psi"]
    if t == 0:
        return np.full_like(param, np.nan)
    if psi == "one":
        return np.full_like(param, lr)
    with np.errstate(all="ignore"):
        if psi == "sum":
            D = total_root(state["sum"], o)
        elif psi == "window":
            ring, slot = state["ring"], (t - 1) % o["window"]
            closed = slot == o["window"] - 1
            squares = ring[: 2 if slot else 1].sum(axis=0) if closed else state["sum"] + ring[slot + 1]
            D = window_root(squares, t, o)
        elif psi == "infinity":
            D = state["exp_inf"] + param.dtype.type(o["eps"] if o["eps_place"] == "outside" else 0)
        else:
            corrected = second_correction(t, o)
            if psi == "ema_max":
                D = largest_root(state["max_exp_avg_sq"], o, corrected)
            else:
                D = root(state["exp_avg_sq"], o, corrected)
        return rounded(param, adaptive_lr(lr, t, o))[0] / D


#: By the kernels' names.
FORMULAS: dict[str, Formula] = {
    "SGD": sgd,
    "Adagrad": adagrad,
    "WindowedAdagrad": windowed_adagrad,
    "RMSprop": rmsprop,
    "Adadelta": adadelta,
    "Adam": adam,
    "RAdam": radam,
    "NAdam": nadam,
    "Adamax": adamax,
    "Lion": lion,
    "AdaBelief": adabelief,
    "Yogi": yogi,
    "Adaptive": adaptive,
}


def moves(method: str, t: int, o: Options) -> bool:
    """Whether the parameter moves in step t; where it stays, no decay moves it either."""
    if method == "Adam":
        return t > o["variance_warmup"]
    return method != "RAdam" or o["below"] == "sgd" or rectified(t, o)


def apply(method: str, param: Array, g: Array, state: State, t: int, lr: float, o: Options) -> None:
    """One step of one parameter: sign, decay, then the method's formula."""
    with np.errstate(all="ignore"):
        if o["maximize"]:
            g = -g
        decay = o["weight_decay"] if moves(method, t, o) else 0.0
        if decay and o["decay"] == "coupled":
            g = g + rounded(param, decay)[0] * param
        elif decay:
            scale = lr if o["decay"] == "decoupled" else lr / o["max_lr"]
            param *= rounded(param, 1 - scale * decay)[0]
        FORMULAS[method](param, g, state, t, lr, o)
