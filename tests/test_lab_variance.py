"""Adam's early variance: the formulas beside mpmath and chance, the rectifier, the averages, the histograms."""

from __future__ import annotations

import numpy as np
import pytest

from fusedstep.in_numpy.double_double import rho
from fusedstep.lab.method import DOCUMENTED

for extra in ("scipy", "matplotlib"):
    pytest.importorskip(extra)
mp = pytest.importorskip("mpmath").mp
averages = pytest.importorskip("fusedstep.lab.averages")
histogram = pytest.importorskip("fusedstep.lab.histogram")
variance = pytest.importorskip("fusedstep.lab.variance")

LENGTHS = (2.5, 4.2, 5.0, 10.0, 100.0, 514.9, 516.0, 1999.0, 2e5)


@pytest.mark.parametrize("length", LENGTHS)
def test_variance_is_the_theorems(length):
    """Liu et al. 2020, Theorem 1, with the beta function: ρ/(ρ−2) − ρ 2^(2ρ−5)/π B((ρ−1)/2, (ρ−1)/2)²."""
    with mp.workdps(60):
        r = mp.mpf(length)
        truth = r / (r - 2) - r * mp.mpf(2) ** (2 * r - 5) / mp.pi * mp.beta((r - 1) / 2, (r - 1) / 2) ** 2
        assert float(variance.exact(length)) == pytest.approx(float(truth), rel=1e-8)
        assert float(variance.exact(length, 3.0)) == pytest.approx(float(truth / 9), rel=1e-8)


def test_variance_at_known_lengths():
    assert float(variance.exact(5)) == pytest.approx(0.252, abs=5e-4)
    assert float(variance.first_order(5)) == pytest.approx(0.833, abs=5e-4)
    assert np.isinf(variance.exact(np.array([0.5, 1, 2]))).all()
    assert np.isinf(variance.first_order(np.array([1, 3, 4]))).all()
    assert float(variance.first_order(1e6) / variance.exact(1e6)) == pytest.approx(1, rel=1e-4)


def test_first_order_is_of_the_square():
    """Var[ψ²]/(4E[ψ²]), with the moments of the scaled inverse χ²."""
    for length in LENGTHS[1:]:
        mean, of_square = length / (length - 2), 2 * length**2 / ((length - 2) ** 2 * (length - 4))
        assert float(variance.first_order(length)) == pytest.approx(of_square / (4 * mean), rel=1e-12)


def test_chance_agrees():
    lengths = np.array([10.0, 50.5, 300.0])
    drawn = variance.drawn(lengths, 200_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, variance.exact(lengths), rtol=0.03)


def test_adams_average_is_nearly_a_simple_one():
    steps = np.array([10, 40, 200])
    found = variance.of_adam(DOCUMENTED["Adam"], steps, 20_000, np.random.default_rng(0), "paper")
    lengths = np.array([rho(0.999, t)[1] for t in steps.tolist()])
    np.testing.assert_allclose(found, variance.exact(lengths), rtol=0.1)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_kernels_apply_the_papers_rectifier(beta2):
    radam = DOCUMENTED["RAdam"].having(betas=(0.9, beta2), eps=0.0)
    found = variance.rectifier(radam, 300, "paper")
    limit, lengths = rho(beta2, 1)[0], np.array([rho(beta2, t)[1] for t in range(1, 301)])
    assert found[:4] == pytest.approx(1)
    rectified = lengths > 4
    assert rectified[4:].all()
    # √(Var[ψ] at ρ∞ ÷ Var[ψ] at ρ), to first order
    expected = np.sqrt(variance.first_order(limit) / variance.first_order(lengths[rectified]))
    np.testing.assert_allclose(found[rectified], expected, rtol=1e-10)


def test_known_centre_of_mass():
    assert averages.centre(averages.exponential(0.9, 7)) == pytest.approx(4.41759, abs=5e-6)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.999])
def test_both_averages_have_one_centre_of_mass(beta):
    for t in (1, 2, 7, 30, 400):
        length = rho(beta, t)[1]
        weights = averages.exponential(beta, t)
        assert weights.sum() == pytest.approx(1)
        assert averages.centre(weights) == pytest.approx(t + 1 - (length + 1) / 2, rel=1e-9)
        assert averages.simple(length, t).sum() == pytest.approx(1)
    whole = averages.simple(5, 8)
    assert averages.centre(whole) == pytest.approx(8 + 1 - (5 + 1) / 2)
    assert np.count_nonzero(whole) == 5


def test_histogram_counts_by_powers_of_two():
    values = np.array([0.0, 1.0, -1.5, 2.0, 0.75, 1e-30, 1e6], np.float32)
    shares = histogram.shares({"a": values[:3], "b": values[3:].reshape(2, 2)})
    counts = dict(zip(range(histogram.LOWEST, histogram.HIGHEST + 1), (7 * shares).round().astype(int), strict=True))
    assert {k: n for k, n in counts.items() if n} == {histogram.LOWEST: 2, -1: 1, 0: 2, 1: 1, histogram.HIGHEST: 1}


def test_beginning_counts_from_the_first_step_that_moves():
    beginning = histogram.Beginning(3)
    weights, grads = {"w": np.ones(4)}, {"w": np.array([1.0, 1.0, 2.0, 0.0])}
    for step in range(8):
        beginning("slow", weights, grads)
        if step >= 2:
            weights["w"] -= 0.5
            grads["w"] /= 2
    assert beginning.idle == {"slow": 2}
    assert len(beginning.gradients["slow"]) == len(beginning.moves["slow"]) == 3
    assert beginning.moves["slow"][0][-1 - histogram.LOWEST] == 1
    # 3 of 4 go one bin on with each step; of them the two of one size take the place of one after the first
    assert beginning.drift("slow") == pytest.approx((0 + 0.5 + 0.75) / 3)
