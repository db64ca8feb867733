"""Powers in double-double arithmetic: the unevaluated sum of two floats, about 104 bits."""

from __future__ import annotations

from functools import lru_cache

Pair = tuple[float, float]

SPLITTER = 134217729.0  # 2**27 + 1


def two_sum(x: float, y: float) -> Pair:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def two_product(x: float, y: float) -> Pair:
    """Dekker 1971: each factor is split in halves whose products are exact."""
    p, q = SPLITTER * x, SPLITTER * y
    x_high, y_high = p - (p - x), q - (q - y)
    x_low, y_low = x - x_high, y - y_high
    product = x * y
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def multiply(x: Pair, y: Pair) -> Pair:
    high, low = two_product(x[0], y[0])
    return two_sum(high, low + (x[0] * y[1] + x[1] * y[0]))


def subtract(x: Pair, y: Pair) -> Pair:
    high = two_sum(x[0], -y[0])
    low = two_sum(x[1], -y[1])
    total = two_sum(high[0], high[1] + low[0])
    return two_sum(total[0], total[1] + low[1])


def divide(x: Pair, y: Pair) -> Pair:
    first = x[0] / y[0]
    rest = subtract(x, multiply(y, (first, 0.0)))
    second = rest[0] / y[0]
    tail = subtract(rest, multiply(y, (second, 0.0)))
    total = two_sum(first, second)
    return two_sum(total[0], total[1] + tail[0] / y[0])


@lru_cache(maxsize=4096)
def power(beta: float, t: int) -> Pair:
    """βᵗ by t's binary digits from the highest down: squared for each, and multiplied with β where it is 1"""
    if t == 0:
        return 1.0, 0.0
    root = power(beta, t >> 1)
    squared = multiply(root, root)
    return multiply(squared, (beta, 0.0)) if t & 1 else squared


def exponential(x: Pair) -> Pair:
    """eˣ, for sizes of x up to 2¹¹: Taylor's series of a part of x, whose power is squared until it is that of x."""
    halvings = 0
    while abs(x[0]) > 2**-4:
        x = x[0] / 2, x[1] / 2
        halvings += 1
    power = (1.0, 0.0)
    for n in range(17, 0, -1):
        power = subtract(divide(multiply(x, power), (float(n), 0.0)), (-1.0, 0.0))
    for _ in range(halvings):
        power = multiply(power, power)
    return power


def correction(beta: float, t: int) -> float:
    """1 − βᵗ"""
    return sum(subtract((1.0, 0.0), power(beta, t)))


def rho(beta: float, t: int) -> tuple[float, float]:
    """RAdam's ρ∞ = 2/(1−β) − 1 and ρ_t = ρ∞ − 2tβᵗ/(1−βᵗ)."""
    one = (1.0, 0.0)
    limit = subtract(divide((2.0, 0.0), subtract(one, power(beta, 1))), one)
    shrunk = multiply((2.0 * t, 0.0), power(beta, t))
    return sum(limit), sum(subtract(limit, divide(shrunk, subtract(one, power(beta, t)))))
