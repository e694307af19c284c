"""Permutation tests, their intervals, and Holm's method."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pgen.metrics.results import PerSet
from pgen.metrics.significance import compare, holm, measure

N = 60


def mean_distance(pool: np.ndarray):
    """The pooled distance of sets of points (3n, D) by the distance of their means."""
    return lambda a, b: np.linalg.norm(pool[a].mean(1) - pool[b].mean(1), axis=1)[:, None]


def repeat(shift: float, repetitions: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """p-values, and whether the interval covers the mean difference, of repeated draws."""
    p_values, differences, half_widths = [], [], []
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        pool = rng.normal(size=(3 * n, 3))
        pool[:n, 0] += shift
        compared = compare(mean_distance(pool), n, rng, permutations=99, rounds=40)
        p_values.append(compared.p_value[0])
        differences.append(compared.value[0] - compared.floor[0])
        half_widths.append(compared.half_width[0])
    expected = np.mean(differences) if shift else 0.0
    return np.array(p_values), np.abs(np.array(differences) - expected) <= half_widths


def test_real_images_get_uniform_p_values_and_covered_intervals() -> None:
    p_values, covered = repeat(0.0, 400)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001  # p-values are multiples of 1 / 100
    assert 0.02 < (p_values <= 0.05).mean() < 0.08 and 0.92 < covered.mean() < 0.98


@pytest.mark.parametrize(("shift", "least"), [(0.3, 0.75), (1.0, 0.9), (3.0, 0.9)])
def test_intervals_cover_true_differences(shift: float, least: float) -> None:
    """Less often near the floor, where the distance is least like a Gaussian."""
    _, covered = repeat(shift, 200)
    assert covered.mean() > least


def test_every_labelling_is_equally_likely() -> None:
    """With 3 + 3 images, p is close to the share of all 20 labellings that are as extreme."""
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(9, 3))
    compared = compare(mean_distance(pool), 3, rng, permutations=4000, rounds=0)
    every = np.array([[*g, *sorted(set(range(6)) - set(g))] for g in itertools.combinations(range(6), 3)])
    distance, held_out = mean_distance(pool), np.arange(6, 9)[None]
    statistics = np.abs(distance(every[:, :3], held_out) - distance(every[:, 3:], held_out))[:, 0]
    assert compared.p_value[0] == pytest.approx((statistics >= statistics[0] - 1e-12).mean(), abs=0.03)


def test_small_p_values_follow_the_tail() -> None:
    """A shift of 5 standard errors of one mean has p = 6e-7, far below 1 / 1,000."""
    rng = np.random.default_rng(0)
    n = 200
    found = []
    for _ in range(5):
        pool = np.concatenate([rng.normal(0.5, 1, n), rng.normal(0, 1, n), np.zeros(n)])[:, None]
        # The reference is far away, so that the difference of distances is that of means.
        pool[2 * n :] = 50
        p = compare(mean_distance(pool), n, rng, permutations=999, rounds=0).p_value[0]
        expected = 2 * stats.norm.sf(abs(pool[:n].mean() - pool[n : 2 * n].mean()) / (pool[: 2 * n].std() * np.sqrt(2 / n)))
        found.append(np.log10(p) / np.log10(expected))
    assert 0.6 < np.mean(found) < 1.2


def test_undefined_distances_are_nan_and_equal_ones_are_not_significant() -> None:
    rng = np.random.default_rng(0)
    compared = compare(lambda a, b: np.tile([0.0, np.nan], (len(a), 1)), 5, rng, permutations=20, rounds=3)
    assert compared.p_value[0] == 1 and compared.half_width[0] == 0
    assert np.isnan([compared.p_value[1], compared.half_width[1]]).all()


def test_measure_draws_equal_sets_and_keeps_to_the_limits() -> None:
    rng = np.random.default_rng(1)
    rows = PerSet(rng.random(50), rng.random(80), rng.random(70))
    measurement = measure("x", lambda a, b: abs(a.mean() - b.mean()), rows, rng, limit=40, permutations=50, rounds=5, highest=0.01)
    assert measurement.n == 40 and measurement.interval[0] >= 0 and measurement.interval[1] <= 0.01


def test_holm_by_hand() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": np.nan})
    assert [adjusted[name] for name in "abc"] == pytest.approx([0.03, 0.06, 0.06]) and np.isnan(adjusted["d"])


@given(st.lists(st.floats(0, 1), max_size=20))
@settings(deadline=None)
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = holm(dict(enumerate(p_values)))
    assert all(p <= adjusted[i] <= 1 for i, p in enumerate(p_values))
    order = np.argsort(p_values, kind="stable")
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(order))
