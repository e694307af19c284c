"""A quantity that hardly varies among real images counts as one among others."""

from __future__ import annotations

import numpy as np
import pytest

from pgen.metrics.features.observables import (
    FEATURES,
    QUANTITIES,
    SIGNED_QUANTITIES,
    feature_scale_floors,
    quantities,
    quantities_to_features,
    scale_floors,
    scales,
)
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import CANNOT_BE_TOLD
from pgen.metrics.runner import evaluate
from tests.helpers.toy_tracks import tracks


def saturated(seed: int) -> np.ndarray:
    """Images whose brightest pixel is 200 in nearly all, as grey levels of digits are."""
    images = (tracks(200, seed, 16) * 30).clip(max=200).round()
    images[:, 0, 8, 8] = 200
    images[:4, 0, 8, 8] = 199
    return np.minimum(images, images[:, :, 8:9, 8:9])


def test_a_brightest_pixel_that_is_nearly_always_one_value() -> None:
    generated, train, held_out = (saturated(seed) for seed in range(3))
    assert held_out.max((1, 2, 3)).std() < 0.3
    dimmer = EvaluationSets(np.minimum(generated, 190), train, held_out)
    found = evaluate(dimmer, ["physics", "fpd", "kpd"]).results
    by_name = {measure.name: measure for finding in found.values() for measure in finding.measures}
    # 10 of 200 is 5 %: one scale, where it would be 50 deviations.
    assert by_name["brightest pixel W1"].value == pytest.approx(1, abs=0.02)
    assert by_name["brightest pixel W1"].verdict == "worse"
    assert by_name["mean W1"].value < 0.5
    assert by_name["FPD"].value < 3 and by_name["KPD"].value < 3


def test_scales_are_deviations_wherever_quantities_vary() -> None:
    images = tracks(300, 5, 24)
    values = quantities(images, 1.0)
    scale = scales(values, scale_floors(QUANTITIES))[0]
    deviation = np.nanstd(values[:, 0], 0)
    varied = [k for k, name in enumerate(FEATURES) if name != "clusters"]
    assert scale[varied] == pytest.approx(deviation[varied])
    assert scale[list(QUANTITIES).index("clusters")] == max(1, deviation[list(QUANTITIES).index("clusters")])
    planes = np.repeat(images[:3], 2, axis=1)
    assert feature_scale_floors(QUANTITIES, 2).shape == (quantities_to_features(quantities(planes)).shape[1],)
    assert feature_scale_floors(SIGNED_QUANTITIES, 2).shape == (quantities_to_features(quantities(planes, signed=True)).shape[1],)


def test_scales_of_signed_charge() -> None:
    """A fraction has no least scale by its unit, as clusters have: 0.2 more or less would not be seen."""
    images = np.rint(tracks(200, 6, 24))
    images -= np.rint(0.3 * np.roll(images, 1, axis=2))
    scale = dict(zip(SIGNED_QUANTITIES, scales(quantities(images, signed=True), scale_floors(SIGNED_QUANTITIES))[0], strict=True))
    assert scale["negative fraction"] < 0.1 and scale["clusters"] >= 1
    generated, train, held_out = images[:60], images[60:120], images[120:]
    doubled = np.where(generated < 0, 2 * generated, generated)
    for candidate, verdict in ((generated, CANNOT_BE_TOLD), (doubled, "worse")):
        (finding,) = evaluate(EvaluationSets(candidate, train, held_out), ["physics"]).results.values()
        (measure,) = (one for one in finding.measures if one.name == "negative fraction W1")
        assert measure.verdict == verdict and (measure.value > 1) == (verdict == "worse")


@pytest.mark.parametrize(
    ("values", "least", "scale"),
    [
        ([4.0, 4.0, 4.0], 0.0, 0.2),  # constant
        ([4.0, 4.0, np.nan, 4.0], 0.5, 0.5),
        ([0.0, 0.0], 0.0, 1.0),
        ([np.nan, np.nan], 0.0, 1.0),
        ([-1.0, 1.0], 0.0, 1.0),
        ([-100.0, -100.0], 0.0, 5.0),
    ],
)
def test_the_floor_of_a_scale(values: list[float], least: float, scale: float) -> None:
    assert scales(np.array(values)[:, None], np.array([least])) == pytest.approx(scale)


def test_constant_features_of_a_users_own() -> None:
    """A feature that is one value in all real images, up to rounding."""
    constant = {0: 3.0, 1: 3.0, 2: 3.15}
    sets = [tracks(100, seed, 16) for seed in range(3)]
    sets[0][:, 0, 0, 0] = 1000  # marks the generated ones

    def features(images: np.ndarray) -> np.ndarray:
        rounding = 1e-7 * np.arange(len(images))
        return np.stack([np.where(images[:, 0, 0, 0] > 999, constant[2], constant[0]) + rounding, images.sum((1, 2, 3))], 1)

    found = EvaluationSets(*sets, extractor=features).features
    assert abs(found.generated[:, 0]).max() == pytest.approx(1, abs=0.01) and abs(found.train[:, 0]).max() < 0.01
