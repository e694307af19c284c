"""Metrics against other people's code, and against definitions written out."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import ot
import prdc as prdc_package
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from sklearn.cluster import DBSCAN
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise

from pgen.data import read_all
from pgen.data.simulation.generate import simulate
from pgen.metrics.features.observables import FEATURES, QUANTITIES, quantities, quantities_to_features
from pgen.metrics.fidelity import frechet, prdc, wasserstein
from pgen.metrics.fidelity.pooled_distances import histogram_distances, marginal_distances, mmd

CPU = torch.device("cpu")
samples = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40).map(np.array)


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 6)), rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) * 0.5 + 0.3


def pooled(distance, n: int, m: int) -> np.ndarray:
    """The distance of the first n from the other m images of a pool."""
    return distance(np.arange(n)[None], np.arange(n, n + m)[None])[0]


@given(samples, samples)
@settings(max_examples=50, deadline=None)
def test_one_dimensional_distances(a: np.ndarray, b: np.ndarray) -> None:
    edges = np.linspace(-100, 100, 8)
    w1, ks, separation = pooled(marginal_distances(np.concatenate([a, b])[:, None], [edges]), len(a), len(b))
    assert w1 == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)
    with np.errstate(divide="ignore"):  # of its p-value
        assert ks == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
    p, q = (np.histogram(part, edges)[0] / len(part) for part in (a, b))
    assert separation == pytest.approx(0.5 * sum((x - y) ** 2 / (x + y) for x, y in zip(p, q, strict=True) if x + y))


def test_undefined_values_and_repeated_images_count_as_they_should() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [4.0, np.nan], [np.nan, 1.0], [5.0, 2.0]])
    distance = marginal_distances(values, [np.array([0.0, 9.0])] * 2)
    (w1, undefined), *_ = distance(np.array([[0, 0, 1, 3]]), np.array([[2, 4, 4, 3]]))[0].reshape(3, 2)
    assert w1 == pytest.approx(stats.wasserstein_distance([1, 1, 2], [4, 5, 5])) and undefined == pytest.approx(0.5 * 0 + 1 * 2 / 3)


def test_distances_of_summed_histograms() -> None:
    histograms, edges = np.array([[3, 1], [0, 0], [1, 1]]), np.array([0.0, 2.0, 4.0])
    w1, ks, separation = pooled(histogram_distances(histograms, edges), 2, 1)
    assert (w1, ks) == pytest.approx((0.5, 0.25)) and separation == pytest.approx(0.5 * (0.25**2 / 1.25 + 0.25**2 / 0.75))


def test_frechet_distance(features: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = features
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b - 2 * linalg.sqrtm(s_a @ s_b).real)
    assert frechet.frechet(a.mean(0), s_a, b.mean(0), s_b) == pytest.approx(expected)
    assert frechet.frechet(a.mean(0), s_a, a.mean(0), s_a) == pytest.approx(0, abs=1e-9)
    at_infinity, at_n = pooled(frechet.frechet_distances(np.concatenate(features), 1), len(a), len(b))
    assert at_infinity == at_n == pytest.approx(expected)


def test_extrapolated_frechet_distance_has_no_bias() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(20):
        a, b = rng.normal(size=(2, 500, 8))
        b[:, 0] += 0.5
        values.append(pooled(frechet.frechet_distances(np.concatenate([a, b]), 4), 500, 500))
    at_infinity, at_n = np.mean(values, 0)
    assert at_n > 0.29 and at_infinity == pytest.approx(0.25, abs=0.03)


def test_mmd(features: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = features
    kernel = pairwise.polynomial_kernel(np.concatenate([a, b]), degree=4, gamma=1 / 6, coef0=1)
    n, m = len(a), len(b)
    k_a, k_b, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    expected = (k_a.sum() - np.trace(k_a)) / (n * (n - 1)) + (k_b.sum() - np.trace(k_b)) / (m * (m - 1)) - 2 * across.mean()
    assert pooled(mmd(kernel), n, m) == pytest.approx(expected)


def test_exact_wasserstein_and_energy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 60, 30)).astype(np.float32)
    distances = wasserstein.pairwise_distances(np.concatenate([a, b]), CPU)
    first, second = np.arange(60), np.arange(60, 120)
    cost = ot.dist(a, b, metric="euclidean").astype(float)
    assert wasserstein.exact_w1(distances, first, second) == pytest.approx(ot.emd2([], [], cost), rel=1e-5)
    within = [ot.dist(each, each, metric="euclidean")[~np.eye(60, dtype=bool)].mean() for each in (a, b)]
    assert pooled(mmd(-distances), 60, 60) == pytest.approx(2 * cost.mean() - sum(within), abs=2e-4)
    directions = np.eye(30)[:, :3]
    sliced = marginal_distances(np.concatenate([a, b]) @ directions, [np.array([-np.inf, np.inf])] * 3)
    expected = ot.sliced_wasserstein_distance(a.astype(float), b.astype(float), projections=directions, p=1)
    assert pooled(sliced, 60, 60)[:3].mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k", [1, 5])
def test_precision_recall_density_coverage(features: tuple[np.ndarray, np.ndarray], k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prdc, "BLOCK", 64)
    real, generated = features
    with contextlib.redirect_stdout(io.StringIO()):
        expected = prdc_package.compute_prdc(real, generated, k)
    values = pooled(prdc.prdc_distances(generated, real, CPU, k), len(generated), 0)
    assert dict(zip(prdc.NAMES, values, strict=True)) == pytest.approx(expected)


def test_quantities_of_a_simple_image() -> None:
    image = np.zeros((2, 1, 12, 12), np.float32)
    image[0, 0, 4, 2:8] = 10  # a row of six
    image[0, 0, 9, 9] = 4  # and a pixel apart
    found = dict(zip(QUANTITIES, quantities(image)[0, 0], strict=True))
    assert found["total charge"] == 64 and found["lit pixels"] == 7 and found["clusters"] == 2 and found["brightest pixel"] == 10
    assert found["track length"] == 6 and found["track angle"] == 0 and found["track width"] == 0 and found["track dQ/dx"] == 10
    assert found["centroid row"] == pytest.approx((60 * 4 + 4 * 9) / 64)
    blank = dict(zip(QUANTITIES, quantities(image)[1, 0], strict=True))
    assert [blank[name] for name in ("total charge", "lit pixels", "clusters")] == [0, 0, 0]
    assert np.isnan([blank[name] for name in FEATURES if name not in ("total charge", "lit pixels", "clusters")]).all()
    turned = dict(zip(QUANTITIES, quantities(image.swapaxes(2, 3))[0, 0], strict=True))
    assert turned["track angle"] == 90 and turned["track length"] == 6


def test_clusters_and_axes_are_those_of_scikit_learn() -> None:
    images = read_all(simulate(40, size=32, seed=5))
    images[::3, :, :, 10:14] = 0  # tear some apart
    found = quantities(images, 10)[:, 0]
    names = list(QUANTITIES)
    for image, row in zip(images[:, 0], found, strict=True):
        at = np.argwhere(image > 10)
        if len(at) < 3:
            continue
        label = DBSCAN(eps=1.5, min_samples=1).fit_predict(at)
        assert row[names.index("clusters")] == label.max() + 1
        charge = np.bincount(label, image[image > 10])
        track = at[label == charge.argmax()]
        if len(track) < 3 or (charge == charge.max()).sum() > 1:
            continue
        weights = image[tuple(track.T)]
        repeated = np.repeat(track, np.rint(weights).astype(int), axis=0)
        axes = PCA(2).fit(repeated)
        along = (track - axes.mean_) @ axes.components_[0]
        assert row[names.index("track length")] == pytest.approx(np.ptp(along) + 1, abs=1e-3)
        across = (repeated - axes.mean_) @ axes.components_[1]
        assert row[names.index("track width")] == pytest.approx(across.std(), abs=1e-3)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_shape_does_not_depend_on_place(down: int, right: int, seed: int) -> None:
    image = np.zeros((1, 2, 16, 16), np.float32)
    rng = np.random.default_rng(seed)
    image[..., :10, :10] = rng.integers(0, 4, (10, 10)) * (rng.random((10, 10)) < 0.4)
    moved = np.roll(image, (down, right), (2, 3))
    before, after = quantities_to_features(quantities(image)), quantities_to_features(quantities(moved))
    places = [channel * 14 + list(QUANTITIES).index(name) for channel in range(2) for name in ("centroid row", "centroid column")]
    assert before.shape == (1, 2 * 14)
    shape = np.setdiff1d(np.arange(28), places)
    assert np.allclose(after[:, shape], before[:, shape], atol=1e-6, equal_nan=True)
    assert np.allclose(after[:, places] - before[:, places], [down, right] * 2, atol=1e-6, equal_nan=True)
