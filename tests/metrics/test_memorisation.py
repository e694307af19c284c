import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pgen.metrics.memorisation.statistics import (
    authenticity,
    compare_within,
    mann_whitney_z,
    matched_copies,
    memorisation,
    occupancy_bins,
    reuse,
)


def alike(*sizes):
    return tuple(np.zeros(n, int) for n in sizes)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.lists(st.integers(0, 5), min_size=2, max_size=40))
def test_z_is_that_of_scipy_with_ties(a, b):
    a, b = np.array(a, float), np.array(b, float)
    z = mann_whitney_z(a, b)
    if len(set(a) | set(b)) == 1:
        assert z == 0
    else:
        wanted = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False).pvalue
        assert stats.norm.cdf(z) == pytest.approx(wanted, abs=1e-9)


def test_one_stratum_is_no_stratification():
    rng = np.random.default_rng(0)
    a, b = rng.normal(-0.2, 1, 100), rng.normal(0, 1, 80)
    result = compare_within(a, b, alike(100, 80))
    assert result.z == pytest.approx(mann_whitney_z(a, b)) == pytest.approx(result.worst) == pytest.approx(result.c_t)
    assert result.coverage == 1


def test_strata_find_what_the_whole_hides():
    rng = np.random.default_rng(0)
    cell = np.repeat([0, 1], 200)
    held_out = rng.normal(10, 1, 400)
    generated = rng.normal(np.where(cell == 0, 8.0, 12.0), 1)
    result = compare_within(generated, held_out, (cell, cell))
    assert abs(mann_whitney_z(generated, held_out)) < 3
    assert result.worst < -10


def test_small_strata_are_left_out():
    result = compare_within(np.arange(30.0), np.arange(30.0), (np.repeat([0, 1], [25, 5]), np.repeat([0, 1], [15, 15])))
    assert len(result.strata) == 1
    assert result.coverage == pytest.approx(25 / 30)
    assert np.isnan(compare_within(np.arange(5.0), np.arange(5.0), alike(5, 5)).z)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=20, max_size=500))
def test_the_null_never_passes_one_per_cent_of_itself(null):
    null = np.array(null, float)
    result = memorisation(null, null, n_pixels=alike(len(null), len(null)), strata=alike(len(null), len(null)))
    assert result.copy_rate == result.null_rate <= 0.01
    assert not result.copying


def test_the_interval_is_clopper_pearson():
    generated, null = np.r_[np.zeros(7), np.full(93, 50.0)], np.arange(1, 101.0)
    result = memorisation(generated, null, n_pixels=alike(100, 100), strata=alike(100, 100))
    assert result.copy_rate == 0.07
    assert result.copy_interval == pytest.approx((stats.beta.ppf(0.025, 7, 94), stats.beta.ppf(0.975, 8, 93)))


def test_matched_copies_have_the_spread_they_claim():
    rng = np.random.default_rng(0)
    strata = (rng.integers(0, 4, 400), rng.integers(0, 4, 400))
    z = [matched_copies(rng.random(400), rng.random(400), strata)[1] for _ in range(400)]
    assert abs(np.mean(z)) < 0.2
    assert 0.8 < np.std(z) < 1.2


def test_no_image_of_like_occupancy_is_no_answer():
    lit = np.zeros(200, int), np.arange(200) + 1
    assert (occupancy_bins(*lit)[0] == -1).all()
    rate, z = matched_copies(np.zeros(200), np.ones(200), occupancy_bins(*lit))
    assert np.isnan(rate) and np.isnan(z)


def test_occupancy_bins_split_the_null_evenly():
    lit = np.random.default_rng(0).integers(0, 10_000, 1000)
    bins = occupancy_bins(lit, lit)[1]
    assert np.unique(bins, return_counts=True)[1].tolist() == pytest.approx([100] * 10, abs=2)


def test_authenticity_and_reuse():
    assert authenticity(np.array([1.0, 3.0, 2.0, 5.0]), np.array([2.0, 2.0, 2.0, 2.0])) == 0.5
    shared = reuse(np.array([4, 4, 9, 7]))
    assert shared.largest_share == 0.5
    assert shared.effective_number == pytest.approx(1 / (0.25 + 2 / 16))
