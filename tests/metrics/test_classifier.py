"""The classifier two-sample test: its numbers, and what it shows of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from pgen.metrics.fidelity import classifier, residual_network
from pgen.metrics.fidelity.roc import auc, auc_interval, auc_p_value
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import CANNOT_BE_TOLD, MetricResult, PerSet
from tests.helpers.toy_tracks import tracks

CPU = torch.device("cpu")
few_values = st.lists(st.integers(-4, 4).map(float), min_size=2, max_size=40).map(np.array)


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_network, "WIDTH", 8)
    monkeypatch.setattr(residual_network, "EPOCHS", 6)
    monkeypatch.setattr(classifier, "PARTS", ())


def toy_sets(seed: int = 0, n: int = 160, **changes: np.ndarray) -> EvaluationSets:
    images = dict(zip(PerSet._fields, (tracks(n, 10 * seed + k, 16) for k in range(3)), strict=True))
    return EvaluationSets(**{**images, **changes}, threshold=1.0, seed=seed)


def blur(images: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(images, (0, 0, 0.6, 0.6))


def by_name(result: MetricResult) -> dict:
    return {measure.name: measure for measure in result.measures}


@given(few_values, few_values)
@settings(max_examples=50, deadline=None)
def test_auc_and_its_test_with_ties(a: np.ndarray, b: np.ndarray) -> None:
    labels, scores = np.repeat([1, 0], [len(a), len(b)]), np.concatenate([a, b])
    assert auc(a, b) == pytest.approx(roc_auc_score(labels, scores))
    low, high = auc_interval(a, b)
    assert 0 <= low <= auc(a, b) <= high <= 1
    if np.ptp(scores) == 0:
        assert auc_p_value(a, b) == 1
    else:
        assert auc_p_value(a, b) == pytest.approx(stats.mannwhitneyu(a, b).pvalue)
        assert auc_p_value(a, b) == pytest.approx(auc_p_value(b, a))


def test_interval_of_the_auc_by_hand() -> None:
    # Fractions of pairs won: 1, 1, 0.5 of generated ones; 1, 2/3 (none above 3: all three are) of real ones.
    generated, real = np.array([4.0, 5.0, 2.0]), np.array([1.0, 3.0])
    above, below = np.array([1, 1, 0.5]), np.array([1, 2 / 3])
    half = 1.959964 * np.sqrt(above.var(ddof=1) / 3 + below.var(ddof=1) / 2)
    assert auc(generated, real) == pytest.approx(5 / 6)
    assert auc_interval(generated, real) == pytest.approx((5 / 6 - half, min(1, 5 / 6 + half)))


def test_interval_of_the_auc_is_that_of_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    generated, real = rng.normal(0.7, 1, 300).round(1), rng.normal(0, 2, 200).round(1)
    draws = [auc(rng.choice(generated, 300), rng.choice(real, 200)) for _ in range(2000)]
    assert auc_interval(generated, real) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)


@pytest.mark.parametrize("n", [15, 100])
def test_interval_of_the_auc_covers_chance_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(n)
    pairs = [(rng.normal(size=n).round(1), rng.normal(size=2 * n).round(1)) for _ in range(1000)]
    covered = np.mean([low <= 0.5 <= high for low, high in (auc_interval(*pair) for pair in pairs)])
    rejected = np.mean([auc_p_value(*pair) <= 0.05 for pair in pairs])
    assert 0.93 <= covered <= 0.97 and 0.03 <= rejected <= 0.07


def test_p_values_of_real_images_are_uniform() -> None:
    results = [classifier.c2st(toy_sets(seed, 100)) for seed in range(20)]
    for name in ("CNN AUC", "trees AUC"):
        measures = [by_name(result)[name] for result in results]
        assert all(measure.floor == 0.5 for measure in measures)
        p = [measure.p_value for measure in measures]
        assert stats.kstest(p, "uniform").pvalue > 0.01, name
        assert sum(measure.verdict == "worse" for measure in measures) <= 3


def test_planted_blur_is_seen_and_shown() -> None:
    sets = toy_sets(n=300)
    sets = replace(sets, generated=np.concatenate([blur(sets.generated[:200]), sets.generated[200:]]))
    result = classifier.c2st(sets)
    cnn = by_name(result)["CNN AUC"]
    assert cnn.verdict == "worse" and cnn.value > 0.6
    log_weights = result.per_image["c2st log weight"]
    judged = np.flatnonzero(np.isfinite(log_weights))
    assert len(log_weights) == 300 and len(judged) == 150 == cnn.n
    least, most = result.highlights
    assert set(least.indices) | set(most.indices) <= set(judged)
    assert log_weights[list(least.indices)].max() < log_weights[list(most.indices)].min()
    assert list(log_weights[list(least.indices)]) == sorted(log_weights[judged])[:10]
    assert np.mean(np.array(least.indices) < 200) > 0.8  # nearly all of them are blurred
    assert least.saliency is not None and least.saliency.shape == (10, 1, 16, 16) and len(least.captions) == 10
    histogram = result.histograms[0]
    assert [int(counts.sum()) for counts in histogram.counts] == [150, 60, 300]


def test_same_seed_same_result() -> None:
    first, second = (classifier.c2st(toy_sets(n=80)) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert np.array_equal(first.per_image["c2st log weight"], second.per_image["c2st log weight"], equal_nan=True)
    assert np.array_equal(first.highlights[0].saliency, second.highlights[0].saliency)
    assert first.to_dict() != classifier.c2st(replace(toy_sets(n=80), seed=1)).to_dict()


def test_images_that_teach_do_not_judge() -> None:
    sets = toy_sets(n=200)
    split = classifier.split_sets(replace(sets, generated=sets.generated[:90], held_out=sets.held_out[:30]), np.random.default_rng(0))
    assert (len(split.generated), len(split.train)) == (60, 160) and sorted(split.judged.held_out) == list(range(30))
    for name in ("generated", "train"):
        assert not set(getattr(split, name)) & set(getattr(split.judged, name))
    # Training images that are the held-out ones, as in training with `best_by`.
    split = classifier.split_sets(replace(sets, train=sets.held_out), np.random.default_rng(0))
    assert not set(split.train) & set(split.judged.held_out) and len(split.judged.held_out) == 100
    assert not set(split.train) & set(split.judged.train)


def test_copies_of_training_images_are_not_told_from_them() -> None:
    sets = toy_sets(n=100)
    result = classifier.c2st(replace(sets, generated=sets.train.copy()))
    assert by_name(result)["CNN AUC"].verdict != "worse"


def test_training_images_that_differ_from_held_out_ones_are_a_warning() -> None:
    sets = toy_sets(n=300)
    result = classifier.c2st(replace(sets, generated=blur(sets.generated), held_out=blur(sets.held_out)))
    assert any("these two sets differ" in warning for warning in result.warnings)
    assert not classifier.c2st(replace(sets, generated=blur(sets.generated))).warnings


def test_few_images_say_nothing() -> None:
    measures = by_name(classifier.c2st(toy_sets(n=52)))
    assert measures["trees AUC"].verdict == CANNOT_BE_TOLD
    assert "26 generated images are too few" in measures["trees AUC"].reason
    assert measures["CNN AUC"].verdict in (CANNOT_BE_TOLD, "worse") and "26 generated images are too few" in measures["CNN AUC"].unclear
    same = replace(toy_sets(n=120), extractor=lambda images: np.ones((len(images), 2)))
    measure = by_name(classifier.c2st(same))["trees AUC"]
    assert measure.verdict == CANNOT_BE_TOLD and "one score" in measure.reason


def test_learning_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "PARTS", (4, 2))
    details = classifier.c2st(toy_sets(n=160)).details
    assert list(details["CNN AUC by learning images"]) == ["20", "40", "80"]
    assert list(classifier.c2st(replace(toy_sets(n=160), permutations=0)).details["CNN AUC by learning images"]) == ["80"]
    curve = {10 * k: 0.9 - 2 / (10 * k) for k in (1, 2, 4)}
    assert classifier.extrapolate(curve) == pytest.approx(0.9)
    assert classifier.extrapolate({n: value + 0.2 for n, value in curve.items()}) == 1
    assert classifier.extrapolate({10: 0.5}) is None


def test_saliency_shows_the_wrong_pixel() -> None:
    real, other = tracks(300, 1, 16), tracks(300, 2, 16)
    row, column = np.random.default_rng(0).integers(2, 14, (2, 300))
    other[np.arange(300), 0, row, column] = 200
    network = residual_network.train_network(other, real, float(real.mean()), epochs=6, seed=0, device=CPU)
    saliency = network.saliency(other[:50])
    assert saliency.shape == (50, 1, 16, 16) and saliency.dtype == np.float32
    peaks = np.array(np.unravel_index(saliency.reshape(50, -1).argmax(1), (16, 16)))
    assert np.mean((peaks == np.stack([row, column])[:, :50]).all(0)) > 0.9
    # Integrated gradients add up to what the image adds to the score of a blank one.
    added = network.score(other[:50]) - network.score(np.zeros_like(other[:50]))
    assert np.corrcoef(saliency.sum((1, 2, 3)), added)[0, 1] > 0.9


def test_scores_are_calibrated() -> None:
    """Weights of images that were not learnt from: their mean over generated images is 1."""
    sets = toy_sets(n=400)
    result = classifier.c2st(replace(sets, generated=sets.generated * np.float32(1.15)))
    log_weights = result.per_image["c2st log weight"]
    assert np.exp(log_weights[np.isfinite(log_weights)]).mean() == pytest.approx(1, abs=0.4)


def test_what_training_can_afford() -> None:
    images, epochs = residual_network.affordable_images, residual_network.affordable_epochs
    assert images((1, 64, 64)) == images((1, 16, 16)) == 4 * images((3, 128, 128)) == 4 * images((1, 512, 512))
    assert epochs(100, (1, 64, 64)) == residual_network.EPOCHS
    assert epochs(images((1, 64, 64)), (1, 64, 64)) == epochs(images((1, 256, 256)), (1, 256, 256)) < 10


def test_small_images() -> None:
    rng = np.random.default_rng(0)
    images = [rng.gamma(1, 5, (40, 2, 3, 1)).astype(np.float32) for _ in range(3)]
    assert classifier.c2st(EvaluationSets(*images)).highlights[0].saliency.shape == (10, 2, 3, 1)


def test_large_images_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_network, "SIDE", 8)
    result = classifier.c2st(toy_sets(n=60))
    assert result.highlights[0].saliency is not None and result.highlights[0].saliency.shape == (10, 1, 16, 16)
