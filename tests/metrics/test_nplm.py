"""NPLM: the fit of scikit-learn, a known ratio of densities, and event scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression

from pgen.metrics.fidelity import likelihood_ratio as module
from pgen.metrics.fidelity.likelihood_ratio import fit_log_ratios, kernel_embedding, likelihood_ratio, nplm
from pgen.metrics.inputs import EvaluationSets
from tests.helpers.toy_tracks import tracks


def test_products_of_rows_are_kernels() -> None:
    """Exact between centres, and where there is a centre for each image."""
    points = np.random.default_rng(0).normal(size=(30, 3))
    centres = np.concatenate([points, points[:3]])  # some twice
    width = np.quantile(stats.iqr([1.0]) + np.array([np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]), 0.5)
    rows = kernel_embedding(centres, 0.5)(points)
    assert rows @ rows.T == pytest.approx(RBF(width)(points), abs=1e-6)


def test_the_fit_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 300)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 4)) + np.repeat([0.5, 0], 100)[:, None]
    a, b = np.arange(60)[None], np.arange(110, 170)[None]
    in_a, in_b = np.zeros((2, 1, 200))
    in_a[0, a], in_b[0, b] = 1, 1
    penalty = 0.7
    weights = fit_log_ratios(rows, in_a, in_b, penalty)[:, 0]
    used = np.concatenate([a[0], b[0]])
    peer = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10).fit(rows[used], used < 100)
    assert weights == pytest.approx(peer.coef_[0], abs=1e-5)
    f = rows @ peer.coef_[0]
    t = 2 * (f[a].sum() - (np.exp(f[b]) - 1).sum())
    assert likelihood_ratio(rows, penalty)(a, b)[0, 0] * 60 == pytest.approx(t, rel=1e-4)


def test_pairs_are_fitted_independently_and_fast_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(300, 3))
    rows = kernel_embedding(features[:40], 0.5)(features)
    a, b = (np.stack([rng.permutation(300)[:200] for _ in range(3)]).reshape(3, 2, 100)).swapaxes(0, 1)
    together = likelihood_ratio(rows, 0.1)(a, b)
    alone = np.concatenate([likelihood_ratio(rows, 0.1)(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    assert together == pytest.approx(alone, rel=1e-9)
    monkeypatch.setattr(module, "STEPS", 1000)
    assert together == pytest.approx(likelihood_ratio(rows, 0.1)(a, b), rel=5e-3)


def test_f_is_the_logarithm_of_the_ratio_of_densities() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    features = np.concatenate([rng.normal(0.5, 1, (n, 1)), rng.normal(0, 1, (n, 1))])
    embed = kernel_embedding(features[:: n // 20], 0.5)
    in_a, in_b = np.repeat(np.eye(2), n, axis=1)[:, None]
    x = np.linspace(-1.5, 2, 20)[:, None]
    f = embed(x) @ fit_log_ratios(embed(features), in_a, in_b, 0.1)
    expected = stats.norm.logpdf(x, 0.5) - stats.norm.logpdf(x, 0)
    assert np.abs(f - expected).max() < 0.15


def test_strange_images_are_seen_and_have_high_scores() -> None:
    images = [tracks(200, seed, 16) for seed in range(3)]
    real = nplm(EvaluationSets(*images, threshold=1.0, permutations=99))
    assert real.measures[0].verdict != "worse"
    dim = np.arange(200) < 40
    images[0] = np.where(dim[:, None, None, None], images[0] * np.float32(0.3), images[0])
    result = nplm(EvaluationSets(*images, threshold=1.0, permutations=99))
    assert result.measures[0].verdict == "worse" and result.measures[0].p_value == 0.01
    scores = result.per_image["NPLM log-ratio"]
    assert scores.shape == (200,) and scores[dim].mean() > scores[~dim].mean() + 0.5
