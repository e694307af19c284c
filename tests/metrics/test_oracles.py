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
from sklearn.metrics import pairwise, roc_auc_score

from pgen.data import read_all
from pgen.data.simulation.generate import simulate
from pgen.metrics.features.observables import QUANTITIES, quantities, quantities_to_features
from pgen.metrics.fidelity import classifier as c2st
from pgen.metrics.fidelity import frechet, prdc, wasserstein
from pgen.metrics.fidelity import marginals as physics

CPU = torch.device("cpu")
samples = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40).map(np.array)


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 6)), rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) * 0.5 + 0.3


@given(samples, samples)
@settings(max_examples=50, deadline=None)
def test_one_dimensional_distances(a: np.ndarray, b: np.ndarray) -> None:
    assert physics.w1(a, b) == pytest.approx(stats.wasserstein_distance(a, b))
    with np.errstate(divide="ignore"):  # of its p-value
        assert physics.ks(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
    ranks = np.repeat([1, 0], [len(a), len(b)])
    assert c2st.auc(a, b) == pytest.approx(roc_auc_score(ranks, np.concatenate([a, b])))


def test_separation_power() -> None:
    assert physics.separation(np.array([1, 0]), np.array([0, 3])) == 1
    assert physics.separation(np.array([2, 2]), np.array([5, 5])) == 0
    assert physics.separation(np.array([3, 1]), np.array([1, 1])) == pytest.approx(0.5 * (0.25**2 / 1.25 + 0.25**2 / 0.75))


def test_frechet_distance(features: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = features
    s_a, s_b = np.cov(a.T), np.cov(b.T)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s_a + s_b - 2 * linalg.sqrtm(s_a @ s_b).real)
    assert frechet.frechet(a, b) == pytest.approx(wanted)
    assert frechet.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_extrapolated_frechet_distance_has_no_bias() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(20):
        a, b = rng.normal(size=(2, 500, 8))
        b[:, 0] += 0.5
        values.append((frechet.frechet(a, b), frechet.extrapolate_frechet(a, b, rng)))
    at_n, endless = np.mean(values, 0)
    assert at_n > 0.29 and endless == pytest.approx(0.25, abs=0.03)


def test_mmd(features: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = features
    kernel = pairwise.polynomial_kernel(np.concatenate([a, b]), degree=4, gamma=1 / 6, coef0=1)
    n, m = len(a), len(b)
    k_a, k_b, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    wanted = (k_a.sum() - np.trace(k_a)) / (n * (n - 1)) + (k_b.sum() - np.trace(k_b)) / (m * (m - 1)) - 2 * across.mean()
    assert frechet.mmd(kernel, np.arange(n), np.arange(n, n + m)) == pytest.approx(wanted)


def test_exact_wasserstein_and_energy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 60, 30)).astype(np.float32)
    distances = wasserstein.pairwise_distances(np.concatenate([a, b]), CPU)
    first, second = np.arange(60), np.arange(60, 120)
    cost = ot.dist(a, b, metric="euclidean").astype(float)
    assert wasserstein.exact_w1(distances, first, second) == pytest.approx(ot.emd2([], [], cost), rel=1e-5)
    within = [ot.dist(each, each, metric="euclidean")[~np.eye(60, dtype=bool)].mean() for each in (a, b)]
    assert wasserstein.energy_distance(distances, first, second) == pytest.approx(2 * cost.mean() - sum(within), abs=2e-4)
    directions = np.eye(30, dtype=np.float32)[:, :3]
    wanted = np.mean([stats.wasserstein_distance(a[:, k], b[:, k]) for k in range(3)])
    assert wasserstein.sliced_w1(a @ directions, b @ directions) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("k", [1, 5])
def test_precision_recall_density_coverage(features: tuple[np.ndarray, np.ndarray], k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prdc, "BLOCK", 64)
    real, generated = features
    with contextlib.redirect_stdout(io.StringIO()):
        wanted = prdc_package.compute_prdc(real, generated, k)
    found = prdc.compute_prdc(real, generated, CPU, k)._asdict()
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(wanted)


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
    assert np.isnan([blank[name] for name in QUANTITIES if name not in ("total charge", "lit pixels", "clusters")]).all()
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
