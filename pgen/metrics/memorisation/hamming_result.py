"""What the Hamming test finds, and the sentence it is told in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.metrics.memorisation.statistics import Memorisation, Reuse
from pgen.metrics.validation import Result

QUANTILES = (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Distances(Result):
    """Nearest-neighbour distances (N,) and their summary; Hamming in pixels, Jaccard between 0 and 1."""

    values: npt.NDArray[np.float64]
    median: float
    mean: float
    quantiles: dict[str, float]

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Distances:
        quantiles = {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
        return cls(values, float(np.median(values)), float(values.mean()), quantiles)


@dataclass(frozen=True)
class DistanceResult(Result):
    """All that one distance says at one threshold. What ends in ``_null`` is the same of held-out images.

    Attributes:
        nearest: nearest-neighbour distances: generated_to_train; held_out_to_train (the null); train_to_train (leave-one-out);
            generated_to_generated (diversity, leave-one-out) beside held_out_to_held_out; train_to_generated (recall) beside
            train_to_held_out.
        memorisation: copy rate and Z of generated against held-out, as all that follows of images that are not blank.
        authenticity: AuthPct, a share between 0 and 1.
        reuse: how generated images share out their nearest training images.
    """

    nearest: dict[str, Distances]
    memorisation: Memorisation
    authenticity: float
    authenticity_null: float
    reuse: Reuse
    reuse_null: Reuse


@dataclass(frozen=True)
class Pair(Result):
    """A generated image and the training image it is nearest to: indices into the sets as given, distances, lit pixels."""

    generated: int
    train: int
    hamming: int
    jaccard: float
    lit_generated: int
    lit_train: int


@dataclass(frozen=True)
class Power(Result):
    """Would the test see it? Real images with a ``share`` of noisy copies of training images among them, judged as if generated.

    Attributes:
        share, copies: how many were planted; none in the control, where nothing must be found.
        copy_rate: by distance, the copy rate matched by occupancy.
        by: by distance, whether it says copying; ``found`` where both do.
    """

    share: float
    copies: int
    copy_rate: dict[str, float]
    by: dict[str, bool]
    found: bool


@dataclass(frozen=True)
class ThresholdResult(Result):
    """Everything at one threshold.

    Attributes:
        blank_rate: share of images with no pixel above the threshold: generated, train, held_out.
        distances: by name, "hamming" and "jaccard".
        duplicates: generated images, blank ones aside, equal to a training image pixel by pixel; ``duplicates_null`` the held-out.
        pairs: the most suspicious, closest by Jaccard first; no blank ones.
        power: the self-test, by planted share; empty where train is blank.
        copying: both distances say so.
        verdict: one sentence.
    """

    threshold: float
    blank_rate: dict[str, float]
    distances: dict[str, DistanceResult]
    duplicates: int
    duplicates_null: int
    pairs: tuple[Pair, ...]
    power: tuple[Power, ...]
    copying: bool
    verdict: str


@dataclass(frozen=True)
class HammingResult(Result):
    """The Hamming test.

    Attributes:
        thresholds: one result each, in the order given.
        sizes: images given: train, generated, held_out.
        compared: generated and held-out images compared, drawn from those given; both against all of train.
        shape: (C, H, W).
        overlap: held-out images that are training images too; should be 0.
        warnings: sentences to show before anything else.
    """

    thresholds: tuple[ThresholdResult, ...]
    sizes: dict[str, int]
    compared: int
    shape: tuple[int, ...]
    seed: int
    overlap: int
    warnings: tuple[str, ...]


def verdict(
    threshold: float, blank_rate: Mapping[str, float], distances: Mapping[str, DistanceResult], power: tuple[Power, ...]
) -> tuple[bool, str]:
    """Is it copying, and the sentence that says why or why not."""
    at = f"At charge > {threshold:g}"
    for name in ("train", "held_out"):
        if blank_rate[name] == 1:
            return (
                False,
                f"{at}: blank. No {name.replace('_', '-')} image has a pixel that bright, so nothing can be said; lower the threshold.",
            )

    says = {name: result.memorisation.copying for name, result in distances.items()}
    rates = "Closer to train than 99 % of held-out images as bright: " + " and ".join(
        f"{result.memorisation.copy_rate_matched:.1%} by {name.capitalize()} (Z {result.memorisation.copy_z:+.1f})"
        for name, result in distances.items()
    )
    if all(np.isnan(result.memorisation.copy_z) for result in distances.values()):
        rates = "Every generated image has fewer lit pixels than all held-out ones, so none can be compared with those as bright"
    if all(says.values()):
        return True, f"{at}: copying. {rates}."
    if blank_rate["generated"] > 0.5:
        return False, f"{at}: blank. {blank_rate['generated']:.0%} of the generated images are blank: a failure, but not copying."
    if any(says.values()):
        small, large = sorted(says, key=lambda name: not says[name])
        return (
            False,
            f"{at}: no copying. {small.capitalize()} alone is too small, {large.capitalize()} is not, as when occupancy is off. {rates}.",
        )
    if all(result.memorisation.closer for result in distances.values()):
        return (
            False,
            f"{at}: no copying found, but closer. The bulk of the images lies nearer to train than unseen ones do, as when they are too "
            f"smooth; {_reach(power)}. {rates}.",
        )
    return False, f"{at}: no copying found; {_reach(power)}. {rates}."


def _reach(power: tuple[Power, ...]) -> str:
    """How small a share of copies the test can see."""
    control, *planted = power
    if control.found:
        return "but training images themselves look like copies of each other, so train and held-out differ and this says little"
    seen = next((row.share for row in planted if row.found), None)
    return f"planted copies are seen from a share of {seen:.0%}" if seen else "but planted copies go unseen, so give more images"
