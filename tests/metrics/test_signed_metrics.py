"""Metrics of signed charge: by its magnitude where the sign has no meaning, and two quantities that know the sign."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pgen.metrics.features.image_statistics import compare_statistics, image_statistics
from pgen.metrics.features.observables import FEATURES, QUANTITIES, SIGNED_QUANTITIES, quantities, quantities_to_features
from pgen.metrics.fidelity import residual_network
from pgen.metrics.fidelity.reconstruction import reconstruction_error
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.hamming import hamming
from pgen.metrics.memorisation.nearest_neighbours import binarise
from pgen.metrics.results import CANNOT_BE_TOLD, Measurement
from pgen.metrics.runner import comparison_warnings, evaluate
from tests.helpers.toy_tracks import tracks

N = 150


def bipolar(seed: int) -> np.ndarray:
    """Tracks of whole charges, each with a shadow of two fifths of its charge, negative."""
    images = np.rint(tracks(N, seed))
    return images - np.rint(0.4 * np.roll(images, 1, axis=2))


def sets(spoil: Callable[[np.ndarray], np.ndarray] = lambda images: images, **options) -> EvaluationSets:
    return EvaluationSets(spoil(bipolar(1)), bipolar(2), bipolar(3), **options)


def measures(sets: EvaluationSets, *metrics: str) -> dict[str, Measurement]:
    evaluation = evaluate(sets, metrics)
    return {measure.name: measure for finding in evaluation.results.values() for measure in finding.measures}


def test_quantities_of_a_bipolar_track() -> None:
    image = np.zeros((1, 1, 9, 9), np.float32)
    image[0, 0, 2, 1:6], image[0, 0, 3, 1:6] = 30, -10
    image[0, 0, 8, 8] = -2  # below the threshold
    row = dict(zip(SIGNED_QUANTITIES, quantities(image, 2, signed=True)[0, 0], strict=True))
    assert {name: row[name] for name in ("total |charge|", "net charge", "negative fraction", "lit pixels", "clusters")} == {
        "total |charge|": 200, "net charge": 100, "negative fraction": 0.25, "lit pixels": 10, "clusters": 1,
    }  # fmt: skip
    assert (row["largest pixel |charge|"], row["mean lit pixel |charge|"], row["track d|Q|/dx"]) == (30, 20, 40)
    assert (row["centroid row"], row["centroid column"], row["track length"]) == (pytest.approx(2.25), 3, 5)
    blank = dict(zip(SIGNED_QUANTITIES, quantities(0 * image, signed=True)[0, 0], strict=True))
    assert blank["net charge"] == 0 and np.isnan(blank["negative fraction"])
    # All but the net charge and the negative fraction go by magnitude.
    by_sign = [list(SIGNED_QUANTITIES).index(name) for name in ("net charge", "negative fraction")]
    np.testing.assert_array_equal(np.delete(quantities(image, 2, signed=True), by_sign, -1), quantities(np.abs(image), 2))
    np.testing.assert_array_equal(quantities(-image, 2, signed=True)[0, 0, by_sign], [-100, 0.75])
    assert quantities_to_features(quantities(image, signed=True)).shape == (1, len(FEATURES) + 1 + 2)


def test_statistics_tell_net_from_absolute_charge() -> None:
    images = np.array([[[[5.0, -3], [0, 1]]], [[[-5, 0], [0, 0]]]])
    statistics = image_statistics(images, 2)
    assert statistics.charge.tolist() == [3, -5] and statistics.absolute_charge.tolist() == [9, 5] and statistics.lit.tolist() == [2, 1]
    first, second = compare_statistics({"real": images, "generated": -2 * images})
    assert (first.charge_mean, first.absolute_charge_mean, second.charge_mean, second.charge_ratio) == (-1, 7, 2, 2)
    cancelling = np.concatenate([images, -images])
    assert [row.charge_ratio for row in compare_statistics({"real": cancelling, "generated": cancelling})] == [1, 1]


def test_reconstruction_of_charge_that_cancels() -> None:
    real = bipolar(4)
    real = np.concatenate([real, -real])
    result = reconstruction_error(real, 0.5 * real, 1)
    assert result.charge_ratio == pytest.approx(0.5) and result.occupancy_ratio == pytest.approx(1, abs=0.2)
    assert result.net_charge == result.net_charge_real == 0
    assert reconstruction_error(real, np.abs(real)).net_charge == result.charge_real == pytest.approx(np.abs(real).mean(0).sum())


def test_copies_are_found_by_magnitude() -> None:
    train, held_out, generated = bipolar(2), bipolar(3), bipolar(1)
    assert torch.equal(binarise(train, 3).bits, binarise(-train, 3).bits)
    assert hamming(train + 1e-3 * np.sign(train), train, held_out, thresholds=[0, 3]).thresholds[1].copying
    (honest,) = hamming(generated, train, held_out, thresholds=[3]).thresholds
    assert not honest.copying and honest.blank_rate == {"generated": 0, "train": 0, "held_out": 0}


def test_each_metric_tells_the_signs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Magnitudes are those of real images, signs are not."""
    monkeypatch.setattr(residual_network, "EPOCHS", 5)
    every = ("physics", "fpd", "kpd", "wasserstein", "prdc", "c2st", "memorisation")
    turned = measures(sets(lambda images: -images), *every)
    for name in ("net charge W1", "negative fraction W1", "pixel charge W1", "FPD", "KPD", "recall", "CNN AUC", "trees AUC"):
        assert turned[name].verdict == "worse", name
    assert turned["sliced W1"].verdict == turned["energy distance"].verdict == "worse"
    for name in ("total |charge| W1", "largest pixel |charge| W1", "track d|Q|/dx W1", "lit pixels W1", "copy rate, Jaccard"):
        assert turned[name].verdict != "worse", name
    real = measures(sets(), *(name for name in every if name != "c2st"))
    assert sum(measure.verdict in ("as real", CANNOT_BE_TOLD) for measure in real.values()) > 0.9 * len(real)
    assert not [name for name, measure in real.items() if not np.isfinite([measure.value, measure.floor]).all()]


def test_quantities_of_a_set_are_signed_if_real_images_are() -> None:
    assert sets(np.abs).signed and sets(threshold=1.0).signed
    assert sets(np.abs).quantities.generated.shape[-1] == len(SIGNED_QUANTITIES)
    unsigned = EvaluationSets(bipolar(1), np.abs(bipolar(2)), np.abs(bipolar(3)))
    assert not unsigned.signed and unsigned.quantities.generated.shape[-1] == len(QUANTITIES)
    deep = EvaluationSets(bipolar(1), bipolar(2).clip(min=-1), bipolar(3).clip(min=-1), threshold=1.0)
    assert not deep.signed  # what is negative lies below the threshold


def test_sets_of_different_kinds_are_a_warning() -> None:
    def warning(sets: EvaluationSets) -> list[str]:
        return [text for text in comparison_warnings(sets) if "negative charge" in text]

    real = bipolar(2)
    fraction = np.abs(real[real < -1]).sum() / np.abs(real[np.abs(real) > 1]).sum()
    assert warning(sets(threshold=1.0)) == []
    (text,) = warning(sets(np.abs, threshold=1.0))
    assert f"0.00% in generated, {fraction:.2%} in train" in text and ":negative=drop" in text
    (text,) = warning(EvaluationSets(bipolar(1), np.abs(bipolar(2)), np.abs(bipolar(3))))
    assert "0.00% in train, 0.00% in held-out" in text
