"""Equal images and distances of 0: what neighbours say where many of them are one point."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import prdc as prdc_package
import pytest
import torch

from pgen.metrics.fidelity import prdc
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import hamming
from pgen.metrics.results import Measurement
from pgen.metrics.runner import evaluate
from tests.helpers.toy_tracks import tracks

CPU = torch.device("cpu")


def means(real: np.ndarray, generated: np.ndarray, k: int = 5) -> dict[str, float]:
    values = prdc.prdc_distances(generated, real, CPU, k)(np.arange(len(generated))[None], np.zeros((1, 0), int))[0]
    return dict(zip(prdc.NAMES, values, strict=True))


def measures(generated: np.ndarray, train: np.ndarray, held_out: np.ndarray, metric: str) -> dict[str, Measurement]:
    found = evaluate(EvaluationSets(generated, train, held_out, threshold=2.0), [metric])
    return {measure.name: measure for finding in found.results.values() for measure in finding.measures}


def by_definition(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    """Balls with their border, one row after the other."""

    def radius(rows: np.ndarray, i: int) -> float:
        return float(np.sort(np.linalg.norm(rows - rows[i], axis=1))[k])

    across = np.array([[np.linalg.norm(r - g) for g in generated] for r in real])
    reach, reach_generated = ([radius(rows, i) for i in range(len(rows))] for rows in (real, generated))
    inside = across <= np.array(reach)[:, None]
    held = [(np.linalg.norm(real - real[i], axis=1) <= reach[i]).sum() - 1 for i in range(len(real))]
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((across <= np.array(reach_generated)).any(1).mean()),
        "density": float((inside / np.array(held)[:, None]).sum(0).mean()),
        "coverage": float(inside.any(1).mean()),
    }


@pytest.mark.parametrize("k", [1, 4])
def test_tied_features_follow_the_definition(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prdc, "BLOCK", 16)
    rng = np.random.default_rng(k)
    real, generated = rng.integers(0, 3, (70, 3)).astype(float), rng.integers(0, 4, (50, 3)).astype(float)
    assert means(real, generated, k) == pytest.approx(by_definition(real, generated, k))


def test_without_ties_they_are_those_of_others() -> None:
    rng = np.random.default_rng(3)
    real, generated = rng.normal(size=(150, 9)), 0.8 * rng.normal(size=(110, 9))
    with contextlib.redirect_stdout(io.StringIO()):
        wanted = prdc_package.compute_prdc(real, generated, 7)
    assert means(real, generated, 7) == pytest.approx(wanted)


def test_a_set_beside_itself() -> None:
    rng = np.random.default_rng(4)
    apart = rng.normal(size=(90, 5))
    tied = np.where(np.arange(90)[:, None] % 3 == 0, 0.7, apart)
    for rows in (apart, tied, np.full((40, 5), 2.5)):
        found = means(rows, rows.copy())
        assert found["precision"] == found["recall"] == found["coverage"] == 1
        assert 1 <= found["density"] <= 1.21  # an image has itself besides its five neighbours


def test_a_generator_without_the_blank_images_is_told_apart() -> None:
    sets = [tracks(160, seed, 16) for seed in range(3)]
    for images in sets[1:]:
        images[::4] = 0
    never_blank, blank_too = sets[0], sets[0].copy()
    blank_too[::4] = 0
    found, honest = measures(never_blank, *sets[1:], "prdc"), measures(blank_too, *sets[1:], "prdc")
    assert found["coverage"].verdict == "worse" and found["coverage"].value == pytest.approx(3 / 4, abs=0.06)
    assert found["recall"].verdict == "worse"
    assert [honest[name].verdict for name in ("precision", "recall", "coverage")] == 3 * ["as real"]
    assert honest["recall"].floor > 0.9 and honest["coverage"].floor > 0.9  # real images beside real ones


def test_copies_are_found_though_held_out_images_are_blank() -> None:
    """A blank held-out image lies on blank training images, so that nothing would be closer."""
    train, held_out, generated = tracks(600, 1), tracks(200, 2), tracks(200, 3)
    for images in (train, held_out):
        images[::12] = 0
    generated[:60] = train[(train > 2).any((1, 2, 3))][:60] * np.float32(1.1)
    (at,) = hamming(generated, train, held_out, thresholds=[2.0]).thresholds
    assert at.copying
    for distance in at.distances.values():
        assert distance.memorisation.cutoff > 0 and distance.memorisation.copy_rate > 0.15
    rates = measures(generated, train, held_out, "memorisation")
    assert rates["copy rate, Hamming"].verdict == rates["copy rate, Jaccard"].verdict == "worse"
    # And blank generated images are no copies, however many there are.
    generated = tracks(200, 3)
    generated[::2] = 0
    (at,) = hamming(generated, train, held_out, thresholds=[2.0]).thresholds
    assert not at.copying and at.distances["hamming"].memorisation.compared <= 100
    assert at.distances["hamming"].memorisation.copy_rate < 0.06


def test_held_out_images_that_are_training_images_leave_copies_untold() -> None:
    train, held_out = tracks(300, 1), tracks(150, 2)
    held_out[:10] = train[:10]
    rate = measures(tracks(150, 3), train, held_out, "memorisation")["copy rate, Hamming"]
    assert rate.verdict == "cannot be told" and "training images too" in rate.reason
