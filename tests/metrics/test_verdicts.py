"""What a number may say: intervals within what it can be, and no "as real" where nothing could have been seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pgen.metrics.fidelity import residual_network
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import CANNOT_BE_TOLD, Measurement, PerSet
from pgen.metrics.runner import Evaluation, evaluate
from pgen.report.html_report import MARKS, WORDS
from tests.helpers.toy_tracks import tracks

#: Measures that are fractions, by a part of their names.
FRACTIONS = ("AUC", "accuracy", "precision", "recall", "coverage", "copy rate", "authenticity", " KS", " separation", "blank images")


def evaluated(sets: EvaluationSets, *metrics: str) -> Evaluation:
    return evaluate(sets, metrics)


def measures(sets: EvaluationSets, *metrics: str) -> dict[str, Measurement]:
    found = evaluated(sets, *metrics).results.values()
    return {measure.name: measure for finding in found for measure in finding.measures}


def labelled(
    images: Sequence[np.ndarray], label: Callable[[np.ndarray], np.ndarray], types: Mapping[str, type | str] | None = None
) -> EvaluationSets:
    """Generated, training and held-out images with a label that follows from an image, in a type of each set."""
    sets = dict(zip(PerSet._fields, images, strict=True))
    labels = {name: {"kind": label(part).astype((types or {}).get(name, int))} for name, part in sets.items()}
    return EvaluationSets(**sets, threshold=1.0, labels=labels)


def bright(images: np.ndarray) -> np.ndarray:
    return np.where(images.sum((1, 2, 3)) > 300, 2212, 13)


@pytest.mark.parametrize(
    ("value", "interval", "p", "unclear", "verdict"),
    [
        (0.52, (0.48, 0.54), 0.4, "", "as real"),
        (0.52, (0.51, 0.53), 0.01, "", "as real"),  # a difference, but within the tolerance
        (0.52, (0.45, 0.59), 0.4, "", CANNOT_BE_TOLD),  # no difference, but there may be one
        (0.52, (0.48, 0.54), 0.4, "few images", CANNOT_BE_TOLD),
        (0.72, (0.65, 0.79), 0.01, "", "worse"),
        (0.72, (0.65, 0.79), 0.01, "few images", "worse"),  # a difference is a difference
        (0.72, (0.65, 0.79), np.nan, "", "worse"),  # the interval decides without a test
        (0.32, (0.25, 0.39), 0.01, "", "beyond"),
        (0.32, (0.25, 0.39), 0.01, "few images", CANNOT_BE_TOLD),
        (np.nan, (np.nan, np.nan), np.nan, "", CANNOT_BE_TOLD),
    ],
)
def test_verdicts_of_a_measurement(value: float, interval: tuple[float, float], p: float, unclear: str, verdict: str) -> None:
    measurement = Measurement("x", value, 0.5, interval, 30, unclear=unclear, p_value=p, tolerance=0.05)
    plain = measurement.to_dict()
    assert measurement.verdict == plain["verdict"] == verdict
    assert bool(plain["reason"]) == (verdict == CANNOT_BE_TOLD) and "unclear" not in plain
    assert measurement.verdict in MARKS and measurement.verdict in WORDS


def test_a_measurement_says_how_many_images_are_needed() -> None:
    measurement = Measurement("x", 0.5, 0.5, (0.4, 0.6), 100, p_value=0.9, tolerance=0.05)
    assert measurement.images_needed == 400  # the interval shrinks with the root
    assert replace(measurement, tolerance=np.nan).images_needed is None and "no tolerance" in replace(measurement, tolerance=np.nan).reason
    assert replace(measurement, tolerance=0.2).images_needed is None  # as real
    one_sided = Measurement("x", 0.9, 0.5, (0.8, 1.0), 100, better="high", two_sided=False, p_value=1.0, tolerance=0.05)
    assert one_sided.verdict == "as real"


def test_reasons_of_a_classifier_are_in_the_results() -> None:
    sets = EvaluationSets(*(tracks(26, seed, 16) for seed in range(3)), threshold=1.0)
    evaluation = evaluated(sets, "c2st")
    trees = json.loads(json.dumps(evaluation.to_dict()))["metrics"]["c2st"]["measures"][1]
    assert trees["verdict"] == "cannot be told" and "too few" in trees["reason"]
    assert "trees AUC" in [name for names in evaluation.unclear().values() for name in names]


def test_closure_of_few_images_says_nothing() -> None:
    sets = labelled([tracks(30, seed, 16) for seed in range(3)], bright)
    found = measures(sets, "closure")["kind accuracy"]
    assert found.verdict == CANNOT_BE_TOLD and "from 30 training images" in found.reason


@pytest.mark.parametrize("types", [{"generated": float}, {"held_out": str}, {"train": "S"}, {"train": float, "generated": str}])
def test_closure_of_labels_in_other_types(types: dict[str, type | str]) -> None:
    sets = [tracks(150, seed, 16) for seed in range(3)]
    as_one, as_many = (measures(labelled(sets, bright, kinds), "closure")["kind accuracy"] for kinds in ({}, types))
    assert as_many.value == as_one.value > 0.9 and as_many.floor == as_one.floor > 0.9
    assert as_many.interval == as_one.interval and as_one.interval[1] <= 1


def test_intervals_stay_within_what_a_number_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_network, "EPOCHS", 1)
    real = [tracks(60, seed, 16) for seed in range(3)]
    dim, blank = real[0] * np.float32(0.2), real[0] * (np.arange(60) % 2)[:, None, None, None].astype(np.float32)
    met = set()
    for generated in (real[0], real[1], dim, blank):
        found = measures(labelled([generated, *real[1:]], bright), "physics", "prdc", "c2st", "memorisation", "closure")
        for name, measure in found.items():
            if np.isnan(measure.value):  # a quantity that is undefined for every image, such as the sagitta of short tracks
                assert measure.verdict == CANNOT_BE_TOLD
                continue
            low, high = measure.interval
            if np.isnan(measure.value):  # tracks are too short for a sagitta
                assert measure.verdict == CANNOT_BE_TOLD and np.isnan([low, high]).all()
                continue
            assert low <= measure.value <= high and low >= 0
            if part := next((part for part in FRACTIONS if part in name), None):
                met.add(part)
                assert high <= 1, name
    assert met == set(FRACTIONS)
