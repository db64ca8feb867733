"""Loops as one would write them by hand for numba: one pass over the arrays, in parallel, with fast-math.

Needs numba: only `numba_rival` imports this. Each is compiled when it is first wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .rival import package

numba = package("numba")
prange = numba.prange

Array = np.ndarray


class Loop(NamedTuple):
    """A loop over parameter, gradient and state, and the numbers that it takes in step t."""

    body: Callable[..., None]
    numbers: Callable[[int], tuple[float, ...]]
    states: int = 0
    window: int = 0  #: planes of a ring, of which the loop is given the one that it rewrites


def descend(p: Array, g: Array, numbers: Any) -> None:
    (lr,) = numbers
    for i in prange(p.size):
        p[i] -= lr * g[i]


def momentum(p: Array, g: Array, m: Array, numbers: Any) -> None:
    mu, fresh, lr = numbers
    for i in prange(p.size):
        m_i = mu * m[i] + fresh * g[i]
        m[i] = m_i
        p[i] -= lr * m_i


def adagrad(p: Array, g: Array, total: Array, numbers: Any) -> None:
    lr, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        sum_i = total[i] + g_i * g_i
        total[i] = sum_i
        p[i] -= lr * g_i / (np.sqrt(sum_i) + eps)


def windowed_adagrad(p: Array, g: Array, total: Array, plane: Array, numbers: Any) -> None:
    # The usual form, which subtracts the square that leaves the window.
    lr, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        square = g_i * g_i
        sum_i = total[i] + square - plane[i]
        total[i] = sum_i
        plane[i] = square
        p[i] -= lr * g_i / (np.sqrt(sum_i) + eps)


def rmsprop(p: Array, g: Array, v: Array, numbers: Any) -> None:
    old, new, lr, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        v_i = old * v[i] + new * g_i * g_i
        v[i] = v_i
        p[i] -= lr * g_i / (np.sqrt(v_i) + eps)


def adadelta(p: Array, g: Array, v: Array, u: Array, numbers: Any) -> None:
    old, new, lr, eps = numbers
    for i in prange(p.size):
        g_i, u_i = g[i], u[i]
        v_i = old * v[i] + new * g_i * g_i
        v[i] = v_i
        delta = np.sqrt(u_i + eps) / np.sqrt(v_i + eps) * g_i
        u[i] = old * u_i + new * delta * delta
        p[i] -= lr * delta


def adam(p: Array, g: Array, m: Array, v: Array, numbers: Any) -> None:
    old1, new1, old2, new2, keep, lr, q, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = old1 * m[i] + new1 * g_i
        v_i = old2 * v[i] + new2 * g_i * g_i
        m[i] = m_i
        v[i] = v_i
        p[i] = keep * p[i] - lr * m_i / (np.sqrt(v_i) * q + eps)


def amsgrad(p: Array, g: Array, m: Array, v: Array, peak: Array, numbers: Any) -> None:
    old1, new1, old2, new2, lr, q, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = old1 * m[i] + new1 * g_i
        v_i = old2 * v[i] + new2 * g_i * g_i
        peak_i = max(peak[i], v_i)
        m[i] = m_i
        v[i] = v_i
        peak[i] = peak_i
        p[i] -= lr * m_i / (np.sqrt(peak_i) * q + eps)


def nesterov_amsgrad(p: Array, g: Array, m: Array, v: Array, peak: Array, numbers: Any) -> None:
    mu, lr, old2, new2, q, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = mu * m[i] + g_i
        v_i = old2 * v[i] + new2 * g_i * g_i
        peak_i = max(peak[i], v_i)
        m[i] = m_i
        v[i] = v_i
        peak[i] = peak_i
        p[i] -= lr * (g_i + mu * m_i) / (np.sqrt(peak_i) * q + eps)


def nadam(p: Array, g: Array, m: Array, v: Array, numbers: Any) -> None:
    old1, new1, old2, new2, of_m, of_g, q, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = old1 * m[i] + new1 * g_i
        v_i = old2 * v[i] + new2 * g_i * g_i
        m[i] = m_i
        v[i] = v_i
        p[i] -= (of_m * m_i + of_g * g_i) / (np.sqrt(v_i) * q + eps)


def adamax(p: Array, g: Array, m: Array, u: Array, numbers: Any) -> None:
    old1, new1, old2, lr, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = old1 * m[i] + new1 * g_i
        u_i = max(old2 * u[i], abs(g_i) + eps)
        m[i] = m_i
        u[i] = u_i
        p[i] -= lr * m_i / u_i


def lion(p: Array, g: Array, m: Array, numbers: Any) -> None:
    old1, new1, old2, new2, lr = numbers
    for i in prange(p.size):
        g_i, m_i = g[i], m[i]
        p[i] -= lr * np.sign(old1 * m_i + new1 * g_i)
        m[i] = old2 * m_i + new2 * g_i


def adabelief(p: Array, g: Array, m: Array, s: Array, numbers: Any) -> None:
    old1, new1, old2, new2, lr, q, eps = numbers
    for i in prange(p.size):
        g_i = g[i]
        m_i = old1 * m[i] + new1 * g_i
        s_i = old2 * s[i] + new2 * (g_i - m_i) * (g_i - m_i) + eps
        m[i] = m_i
        s[i] = s_i
        p[i] -= lr * m_i / (np.sqrt(s_i) * q + eps)


def yogi(p: Array, g: Array, m: Array, v: Array, numbers: Any) -> None:
    old1, new1, new2, lr, q, eps = numbers
    for i in prange(p.size):
        g_i, v_i = g[i], v[i]
        m_i = old1 * m[i] + new1 * g_i
        square = g_i * g_i
        v_i -= new2 * np.sign(v_i - square) * square
        m[i] = m_i
        v[i] = v_i
        p[i] -= lr * m_i / (np.sqrt(v_i) * q + eps)


def rest(beta: float, t: int) -> float:
    return 1 - beta**t


def q(t: int) -> float:
    return 1 / math.sqrt(rest(0.999, t))


AVERAGES = 0.9, 0.1, 0.999, 0.001


def radam_numbers(t: int) -> tuple[float, ...]:
    limit = 2 / (1 - 0.999) - 1
    length = limit - 2 * t * 0.999**t / rest(0.999, t)
    lr = 0.01 / rest(0.9, t)
    if length <= 5:
        return *AVERAGES, 1.0, lr, 0.0, 1.0
    r = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    return *AVERAGES, 1.0, lr * r / q(t), 1.0, 1e-8


def nadam_numbers(t: int) -> tuple[float, ...]:
    mu = [0.9 * (1 - 0.5 * 0.96 ** (i * 4e-3)) for i in range(1, t + 2)]
    now, following = math.prod(mu[:t]), math.prod(mu)
    return *AVERAGES, 0.01 * mu[t] / (1 - following), 0.01 * (1 - mu[t - 1]) / (1 - now), q(t), 1e-8


#: By the rows' names, with the rows' options.
LOOPS: dict[str, Loop] = {
    "SGD": Loop(descend, lambda t: (0.01,)),
    "SGD, momentum": Loop(momentum, lambda t: (0.9, 1.0, 0.01), 1),
    "Adagrad": Loop(adagrad, lambda t: (0.01, 1e-10), 1),
    "WindowedAdagrad": Loop(windowed_adagrad, lambda t: (0.01, 1e-10), 1, window=10),
    "RMSprop": Loop(rmsprop, lambda t: (0.99, 0.01, 0.01, 1e-8), 1),
    "Adadelta": Loop(adadelta, lambda t: (0.9, 0.1, 1.0, 1e-6), 2),
    "Adam": Loop(adam, lambda t: (*AVERAGES, 1.0, 0.01 / rest(0.9, t), q(t), 1e-8), 2),
    "AMSGrad": Loop(amsgrad, lambda t: (*AVERAGES, 0.01 / rest(0.9, t), q(t), 1e-8), 3),
    "AdamW": Loop(adam, lambda t: (*AVERAGES, 1 - 0.01 * 0.01, 0.01 / rest(0.9, t), q(t), 1e-8), 2),
    "RAdam": Loop(adam, radam_numbers, 2),
    "NAdam": Loop(nadam, nadam_numbers, 2),
    "Adamax": Loop(adamax, lambda t: (0.9, 0.1, 0.999, 0.01 / rest(0.9, t), 1e-8), 2),
    "Lion": Loop(lion, lambda t: (0.9, 0.1, 0.99, 0.01, 0.01), 1),
    "AdaBelief": Loop(adabelief, lambda t: (*AVERAGES, 0.01 / rest(0.9, t), q(t), 1e-16), 2),
    "Yogi": Loop(yogi, lambda t: (0.9, 0.1, 0.001, 0.01 / rest(0.9, t), q(t), 1e-3), 2),
    "Adaptive, Nesterov × AMSGrad": Loop(nesterov_amsgrad, lambda t: (0.9, 0.01, 0.999, 0.001, q(t), 1e-8), 3),
}
