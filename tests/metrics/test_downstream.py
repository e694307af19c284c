"""The metric `downstream`: a function of the user on generated and real images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pgen.errors import ConfigError
from pgen.metrics.fidelity.downstream import downstream
from pgen.metrics.inputs import Downstream, EvaluationSets
from pgen.metrics.runner import evaluate
from tests.helpers.toy_tracks import tracks


def reconstruct(images: np.ndarray) -> dict[str, np.ndarray]:
    charge = images.sum((1, 2, 3))
    return {"charge": charge, "pixels": (images > 0).sum((1, 2, 3)), "log of large charge": np.log(np.where(charge > 100, charge, np.nan))}


def sets(function: Downstream | None = reconstruct, gain: float = 1.0) -> EvaluationSets:
    generated, train, held_out = (tracks(120, seed, 16) for seed in range(3))
    return EvaluationSets(generated * np.float32(gain), train, held_out, threshold=1.0, downstream=function, permutations=99)


def test_outputs_are_compared_as_quantities() -> None:
    given = sets(gain=0.8)
    result = downstream(given)
    by_name = {m.name: m for m in result.measures}
    assert list(by_name) == [f"{name} {kind}" for name in reconstruct(given.train) for kind in ("W1", "KS")]
    generated, train, held_out = (reconstruct(images)["charge"] for images in (given.generated, given.train, given.held_out))
    low, high = np.quantile(held_out, [0.16, 0.84])
    scale = (high - low) / 2
    charge, ks = by_name["charge W1"], by_name["charge KS"]
    assert charge.value == pytest.approx(stats.wasserstein_distance(generated, held_out) / scale, rel=1e-5)
    assert charge.floor == pytest.approx(stats.wasserstein_distance(train, held_out) / scale, rel=1e-5)
    assert (ks.value, ks.floor) == pytest.approx([stats.ks_2samp(a, held_out).statistic for a in (generated, train)])
    assert charge.verdict == "worse" and by_name["pixels W1"].verdict != "worse" and charge.headline and not ks.headline
    defined = reconstruct(given.generated)["log of large charge"]
    assert result.details["mean"]["log of large charge"]["generated"] == pytest.approx(np.nanmean(defined))
    assert np.array_equal(result.per_image["downstream: log of large charge"], defined, equal_nan=True)
    assert result.histograms[0].counts.train.sum() == 120


def test_an_array_with_names_is_the_same() -> None:
    class Pipeline:
        names = ("charge", "pixels", "log of large charge")

        def __call__(self, images: np.ndarray) -> np.ndarray:
            return np.stack(list(reconstruct(images).values()), 1)

    assert downstream(sets(Pipeline())).measures == downstream(sets()).measures


def test_real_images_are_reconstructed_once_for_all_generated_sets() -> None:
    calls = []

    def counting(images: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(len(images))
        return reconstruct(images)

    first = sets(counting)
    downstream(first)
    assert sum(calls) == 3 * 120 + 1
    second = replace(first, generated=first.generated * 2)
    downstream(second)
    assert sum(calls) == 4 * 120 + 2


def test_without_a_function_it_is_skipped_unless_named() -> None:
    with pytest.raises(ConfigError, match="downstream needs a function of images; name it by `downstream`"):
        evaluate(sets(None), ["downstream"])
    skipped = evaluate(sets(None), ["downstream"], strict=False).skipped
    assert "needs a function" in skipped["downstream"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda images: images.no, "failed on 1 images .AttributeError"),
        (lambda images: np.zeros((len(images), 2)), "attribute `names` of the function"),
        (lambda images: {}, "returned no output"),
        (lambda images: {"x": 1.0}, r"returned x of shape \(\)"),
        (lambda images: {"x": np.zeros((len(images), 2))}, r"returned x of shape \(1, 2\) for 1 images"),
        (lambda images: {"x": ["a"] * len(images)}, "could not convert"),
        (lambda images: {"x": np.full(len(images), np.inf)}, "infinite values of x"),
        (lambda images: {f"x{len(images)}": np.zeros(len(images))}, "returned x120 for some images and x1 for others"),
    ],
)
def test_other_outputs_are_refused(function: Downstream, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        downstream(sets(function))
