"""Mean and sliced KS: the numbers of scipy, and what they see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pgen.metrics.fidelity.kolmogorov_smirnov import draw_directions, ks, mean_and_sliced_ks
from pgen.metrics.inputs import EvaluationSets
from tests.helpers.toy_tracks import tracks


def test_both_are_means_of_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    pool = np.round(rng.normal(size=(90, 4)), 1)  # with ties
    directions = draw_directions(4, 7, rng)
    assert np.linalg.norm(directions, axis=0) == pytest.approx(np.ones(7))
    a, b = rng.integers(90, size=(2, 3, 30))  # images may be drawn twice
    values = mean_and_sliced_ks(pool, directions)(a, b)
    for row, i, j in zip(values, a, b, strict=True):
        for value, columns in zip(row, (pool, pool @ directions), strict=True):
            expected = [stats.ks_2samp(columns[i, k], columns[j, k]).statistic for k in range(columns.shape[1])]
            assert value == pytest.approx(np.mean(expected), abs=1e-12)


def test_one_reference_serves_all_rows() -> None:
    rng = np.random.default_rng(1)
    distance = mean_and_sliced_ks(rng.normal(size=(60, 3)), draw_directions(3, 5, rng))
    a, b = rng.permutation(60)[:40].reshape(2, 20), np.arange(40, 60)[None]
    assert np.array_equal(distance(a, b), distance(a, np.repeat(b, 2, 0)))


def test_dim_images_are_worse_and_real_ones_are_not() -> None:
    real = [tracks(150, seed, 16) for seed in range(3)]
    by_name = {m.name: m for m in ks(EvaluationSets(*real, threshold=1.0, permutations=99)).measures}
    assert list(by_name) == ["mean KS", "sliced KS"] and all(m.verdict != "worse" for m in by_name.values())
    dim = ks(EvaluationSets(real[0] * np.float32(0.7), *real[1:], threshold=1.0, permutations=99))
    assert all(m.verdict == "worse" and m.p_value == 0.01 and m.interval[0] >= 0 for m in dim.measures)
    again = ks(EvaluationSets(real[0] * np.float32(0.7), *real[1:], threshold=1.0, permutations=99))
    assert again.measures == dim.measures
