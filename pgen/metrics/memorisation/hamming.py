"""The Hamming test: are generated images closer to the training images than unseen real images are?

Images become binary at a charge threshold. Both Hamming and Jaccard distances are computed, since
each has a blind spot: for the Hamming distance, a blank or dim image is a copy, as it is close to
everything. The test reports copying only if both distances do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold
from pgen.errors import ConfigError
from pgen.metrics.memorisation.groups import Group, Labels, count_copies, group_by_labels, group_by_occupancy
from pgen.metrics.memorisation.nearest_neighbours import DISTANCES, BinaryImages, Neighbours, binarise, from_bits, nearest
from pgen.metrics.memorisation.statistics import Memorisation, Reuse, authenticity, mann_whitney_z, memorisation, reuse
from pgen.metrics.memorisation.strata import KMeansStrata
from pgen.metrics.validation import Images, Result, as_images, check_same_shape

#: Fewest images of a set.
MINIMUM = 20
#: Fractions of planted copies in the power self-test; the first is its control.
PLANTED = (0.0, 0.01, 0.05, 0.10)
#: Fraction of the pixels above threshold of a planted copy that are switched off; as many others
#: are switched on.
NOISE = 0.1
QUANTILES = (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)
#: Nearest-neighbour searches at one threshold, the unit of progress.
_SEARCHES = 8

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Distances(Result):
    """Nearest-neighbour distances and their summary; Hamming in pixels, Jaccard between 0 and 1.

    Attributes:
        values: (N,) distances.
        median: Their median.
        mean: Their mean.
        quantiles: QUANTILES -> value.
    """

    values: npt.NDArray[np.float64]
    median: float
    mean: float
    quantiles: dict[str, float]

    @classmethod
    def from_values(cls, values: npt.NDArray[np.float64]) -> Distances:
        """Summarise distances (N,)."""
        quantiles = {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
        return cls(values, float(np.median(values)), float(values.mean()), quantiles)


@dataclass(frozen=True)
class DistanceResult(Result):
    """Results for one distance at one threshold.

    Fields that end in ``_null`` are for held-out images.

    Attributes:
        nearest: Nearest-neighbour distances: generated_to_train; held_out_to_train (the null);
            train_to_train (leave-one-out); generated_to_generated and held_out_to_held_out
            (diversity, leave-one-out); train_to_generated and train_to_held_out (recall).
        memorisation: Copy rate and Z of generated against held-out images. This and the following
            are for images that are not blank.
        authenticity: AuthPct, a fraction between 0 and 1.
        authenticity_null: The same of held-out images.
        reuse: How often generated images have the same nearest training image.
        reuse_null: The same of held-out images.
        groups: Copies by ``occupancy``, and by each label of few values.
    """

    nearest: dict[str, Distances]
    memorisation: Memorisation
    authenticity: float
    authenticity_null: float
    reuse: Reuse
    reuse_null: Reuse
    groups: dict[str, tuple[Group, ...]]


@dataclass(frozen=True)
class Pair(Result):
    """A generated image and its nearest training image.

    Attributes:
        generated: Index of the generated image.
        train: Index of the training image.
        hamming: Pixels that differ.
        jaccard: Jaccard distance.
        lit_generated: Pixels above threshold of the generated image.
        lit_train: Pixels above threshold of the training image.
    """

    generated: int
    train: int
    hamming: int
    jaccard: float
    lit_generated: int
    lit_train: int


@dataclass(frozen=True)
class Power(Result):
    """Power self-test: the test applied to real images with planted noisy copies.

    Attributes:
        share: Fraction of planted copies; 0 in the control.
        copies: Number of planted copies.
        copy_rate: Distance -> copy rate matched by occupancy.
        by: Distance -> whether it reports copying.
        found: Whether both distances do.
    """

    share: float
    copies: int
    copy_rate: dict[str, float]
    by: dict[str, bool]
    found: bool


@dataclass(frozen=True)
class ThresholdResult(Result):
    """Results at one threshold.

    Attributes:
        threshold: |charge| above which a pixel counts.
        blank_rate: Set name -> fraction of images without a pixel above threshold.
        distances: "hamming" and "jaccard" -> result.
        duplicates: Generated images, without blank ones, that equal a training image pixel by
            pixel.
        duplicates_null: The same of held-out images.
        pairs: The most suspicious pairs, the closest by Jaccard distance first; no blank images.
        power: Power self-test, a row for each fraction in PLANTED; empty if train is blank.
        copying: Whether both distances report copying.
        verdict: A sentence with the conclusion and why.
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
    """Result of the Hamming test.

    Attributes:
        thresholds: One result per threshold, in the order given.
        sizes: Set name -> number of images.
        compared: Generated and held-out images that were drawn and compared with all of train.
        shape: (C, H, W).
        seed: Seed of the draws.
        overlap: Held-out images that are training images too; should be 0.
        warnings: Sentences to show before anything else.
    """

    thresholds: tuple[ThresholdResult, ...]
    sizes: dict[str, int]
    compared: int
    shape: tuple[int, ...]
    seed: int
    overlap: int
    warnings: tuple[str, ...]


def hamming(
    generated: Images,
    train: Images,
    held_out: Images,
    *,
    thresholds: Sequence[float],
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    pairs: int = 16,
    labels: Mapping[str, Labels] | None = None,
) -> HammingResult:
    """Compare nearest-neighbour distances of generated -> train with held-out -> train, the null.

    Generated and held-out images are compared in equal number, drawn without replacement from the
    larger set, with all of train.

    Args:
        generated: (N, C, H, W) in charge units.
        train: (M, C, H, W).
        held_out: (K, C, H, W).
        thresholds: Pixels whose |charge| is above count.
        seed: Seed of the draws, the strata and the planted copies.
        device: Where distances are computed.
        progress: Called as ``progress(done, total)`` after each nearest-neighbour search.
        pairs: Number of the most suspicious pairs to list.
        labels: "generated" and "held_out" -> label name -> (N,) labels, by which copies are
            counted.

    Raises:
        DataError: A set has fewer than 20 images, another shape, or NaN pixels.
        ConfigError: A threshold is not finite.
    """
    sets = {
        name: as_images(images, name, at_least=MINIMUM)
        for name, images in (("train", train), ("generated", generated), ("held_out", held_out))
    }
    check_same_shape(**sets)
    if not len(thresholds) or not np.isfinite(thresholds).all():
        raise ConfigError(f"thresholds: expected one or more finite charges, such as 0 or 10, got {list(thresholds)}.")
    size = min(map(len, sets.values()))
    rng = np.random.default_rng(seed)
    sample = {name: np.sort(rng.choice(len(images), size, replace=False)) for name, images in sets.items()}
    compared_labels = {
        name: {label: np.asarray(values)[sample[name]] for label, values in (labels or {}).get(name, {}).items()}
        for name in ("generated", "held_out")
    }
    overlap = count_shared_images(sets["train"], sets["held_out"])

    done, total = count(1), _SEARCHES * len(thresholds)

    def search(queries: BinaryImages, reference: BinaryImages, own: Ints | None = None) -> Neighbours:
        neighbours = nearest(queries, reference, own=own)
        if progress:
            progress(next(done), total)
        return neighbours

    results = tuple(
        _test_at_threshold(sets, sample, threshold, np.random.default_rng((seed, i)), device, search, pairs, compared_labels)
        for i, threshold in enumerate(thresholds)
    )
    return HammingResult(
        thresholds=results,
        sizes={name: len(images) for name, images in sets.items()},
        compared=size,
        shape=sets["train"].shape[1:],
        seed=seed,
        overlap=overlap,
        warnings=_warnings(size, overlap),
    )


def count_shared_images(train: FloatArray, held_out: FloatArray) -> int:
    """Count held-out images that equal a training image bit by bit, without blank ones."""
    digests = {hashlib.blake2b(image.tobytes()).digest() for image in train}
    return sum(bool(image.any()) and hashlib.blake2b(image.tobytes()).digest() in digests for image in held_out)


@dataclass(frozen=True)
class _Queries:
    """Images to test: (N,) distances to train by name, pixels above threshold, and strata."""

    distance: dict[str, npt.NDArray[np.float64]]
    n_pixels: Ints
    stratum: Ints

    def with_copies(self, indices: Ints, copies: _Queries) -> _Queries:
        """Replace the images at ``indices`` by the first of ``copies``."""

        def replaced(values: npt.NDArray, new: npt.NDArray) -> npt.NDArray:
            result = values.copy()
            result[indices] = new[: len(indices)]
            return result

        distance = {name: replaced(self.distance[name], copies.distance[name]) for name in DISTANCES}
        return _Queries(distance, replaced(self.n_pixels, copies.n_pixels), replaced(self.stratum, copies.stratum))

    def without_blank(self) -> _Queries:
        keep = self.n_pixels > 0
        return _Queries({name: values[keep] for name, values in self.distance.items()}, self.n_pixels[keep], self.stratum[keep])


def _compare(queries: _Queries, null: _Queries) -> dict[str, Memorisation]:
    """Test by each distance, on images that are not blank.

    Only the global Z, which decides nothing, is for all images.

    A blank image lies on blank training images without being a copy. And if more than 1 % of the
    held-out images were blank, the cutoff would be 0, below which there is no copy at all.
    """
    generated, held_out = queries.without_blank(), null.without_blank()
    n_pixels, strata = (generated.n_pixels, held_out.n_pixels), (generated.stratum, held_out.stratum)
    results = {
        name: memorisation(generated.distance[name], held_out.distance[name], n_pixels=n_pixels, strata=strata) for name in DISTANCES
    }
    return {name: replace(results[name], z=mann_whitney_z(queries.distance[name], null.distance[name])) for name in DISTANCES}


def _test_at_threshold(
    sets: dict[str, FloatArray],
    sample: dict[str, Ints],
    threshold: float,
    rng: np.random.Generator,
    device: str | torch.device,
    search: Callable[..., Neighbours],
    pairs: int,
    labels: Mapping[str, Labels],
) -> ThresholdResult:
    train = binarise(sets["train"], threshold, device)
    train_sample = train.take(sample["train"])
    compared = {name: binarise(sets[name][sample[name]], threshold, device) for name in ("generated", "held_out")}
    size = len(train_sample)

    strata = KMeansStrata(train_sample.bits, sets["train"].shape[1:], int(np.clip(size // 50, 1, 10)), rng)
    near = {name: search(images, train) for name, images in compared.items()}
    generated, null = (_Queries(near[name].distance, images.n_pixels, strata.predict(images.bits)) for name, images in compared.items())

    # Leave-one-out distances within train: of a sample for the distribution, and of every neighbour
    # for its authenticity.
    indices = np.unique(np.concatenate([sample["train"], *(neighbours.index[name] for neighbours in near.values() for name in DISTANCES)]))
    within = search(train.take(indices), train, indices)

    def leave_one_out(subset: Ints) -> dict[str, npt.NDArray[np.float64]]:
        return {name: within.distance[name][np.searchsorted(indices, subset)] for name in DISTANCES}

    real = _Queries(leave_one_out(sample["train"]), train_sample.n_pixels, strata.predict(train_sample.bits))
    own = np.arange(size)
    distributions = {
        "generated_to_train": generated.distance,
        "held_out_to_train": null.distance,
        "train_to_train": real.distance,
        "generated_to_generated": search(compared["generated"], compared["generated"], own).distance,
        "held_out_to_held_out": search(compared["held_out"], compared["held_out"], own).distance,
        "train_to_generated": search(train_sample, compared["generated"]).distance,
        "train_to_held_out": search(train_sample, compared["held_out"]).distance,
    }

    tests = _compare(generated, null)
    has_pixels = {name: images.n_pixels > 0 for name, images in compared.items()}
    of_images = ({label: values[has_pixels[name]] for label, values in labels[name].items()} for name in ("generated", "held_out"))
    groupings = {
        "occupancy": group_by_occupancy(generated.without_blank().n_pixels, null.without_blank().n_pixels),
        **{f"label {label}": grouping for label, grouping in group_by_labels(*of_images).items()},
    }
    distances = {}
    for name in DISTANCES:
        index, index_null = (near[key].index[name][has_pixels[key]] for key in ("generated", "held_out"))
        to_train = generated.without_blank().distance[name], null.without_blank().distance[name]
        distances[name] = DistanceResult(
            nearest={key: Distances.from_values(values[name]) for key, values in distributions.items()},
            memorisation=tests[name],
            authenticity=authenticity(to_train[0], leave_one_out(index)[name]),
            authenticity_null=authenticity(to_train[1], leave_one_out(index_null)[name]),
            reuse=reuse(index),
            reuse_null=reuse(index_null),
            groups={key: count_copies(*to_train, tests[name].cutoff, grouping) for key, grouping in groupings.items()},
        )

    planted = _noisy_copies(train, max(1, round(max(PLANTED) * size)), rng)
    copies = _Queries(search(planted, train).distance, planted.n_pixels, strata.predict(planted.bits))
    power = _measure_power(real, copies, null, rng) if train.n_pixels.any() else ()

    blank = {name: float(1 - above_threshold(images, threshold).any(axis=(1, 2, 3)).mean()) for name, images in sets.items()}
    copying, sentence = _conclude(threshold, blank, distances, power)
    return ThresholdResult(
        threshold=float(threshold),
        blank_rate=blank,
        distances=distances,
        duplicates=_count_duplicates(generated),
        duplicates_null=_count_duplicates(null),
        pairs=_most_suspicious(near["generated"], compared["generated"], train, sample["generated"], pairs),
        power=power,
        copying=copying,
        verdict=sentence,
    )


def _count_duplicates(queries: _Queries) -> int:
    return int(((queries.distance["hamming"] == 0) & (queries.n_pixels > 0)).sum())


def _noisy_copies(train: BinaryImages, number: int, rng: np.random.Generator) -> BinaryImages:
    """Copy training images that are not blank, with noise."""
    candidates = np.flatnonzero(train.n_pixels) if train.n_pixels.any() else np.arange(len(train))
    originals = train.take(rng.choice(candidates, number))
    bits = originals.bits.cpu().numpy()
    switch_on = NOISE * originals.n_pixels / np.maximum(bits.shape[1] - originals.n_pixels, 1)
    flip = rng.random(bits.shape) < np.where(bits, NOISE, switch_on[:, None])
    return from_bits(torch.from_numpy(bits ^ flip).to(train.bits.device))


def _measure_power(real: _Queries, copies: _Queries, null: _Queries, rng: np.random.Generator) -> tuple[Power, ...]:
    """Plant copies among training images, then test these as if they were generated."""
    order = rng.permutation(len(real.n_pixels))
    rows = []
    for fraction in PLANTED:
        number = round(fraction * len(order))
        tests = _compare(real.with_copies(order[:number], copies), null)
        by = {name: result.copying for name, result in tests.items()}
        rows.append(Power(fraction, number, {name: result.copy_rate_matched for name, result in tests.items()}, by, all(by.values())))
    return tuple(rows)


def _most_suspicious(near: Neighbours, images: BinaryImages, train: BinaryImages, original: Ints, pairs: int) -> tuple[Pair, ...]:
    """Return the closest pairs by Jaccard distance.

    Of equally close ones, the brighter is first, since one common pixel is little evidence.
    """
    distance, index = near.distance["jaccard"], near.index["jaccard"]
    order = np.lexsort((-images.n_pixels, distance))
    order = order[images.n_pixels[order] > 0][:pairs]
    differ = (images.take(order).bits ^ train.take(index[order]).bits).sum(1).tolist()
    return tuple(
        Pair(int(original[i]), int(index[i]), pixels, float(distance[i]), int(images.n_pixels[i]), int(train.n_pixels[index[i]]))
        for i, pixels in zip(order, differ, strict=True)
    )


def _conclude(
    threshold: float, blank_rate: Mapping[str, float], distances: Mapping[str, DistanceResult], power: tuple[Power, ...]
) -> tuple[bool, str]:
    """Decide whether it is copying, and say why or why not."""
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
            f"smooth; {_describe_power(power)}. {rates}.",
        )
    return False, f"{at}: no copying found; {_describe_power(power)}. {rates}."


def _describe_power(power: tuple[Power, ...]) -> str:
    """Say which fraction of copies the test detects."""
    control, *planted = power
    if control.found:
        return "but training images themselves look like copies of each other, so train and held-out differ and this says little"
    smallest = next((row.share for row in planted if row.found), None)
    return f"planted copies are seen from a share of {smallest:.0%}" if smallest else "but planted copies go unseen, so give more images"


def _warnings(size: int, overlap: int) -> tuple[str, ...]:
    warnings = []
    if overlap:
        warnings.append(
            f"HELD-OUT OVERLAPS TRAIN: {overlap} held-out images are also training images, so the null is too close and copying may go "
            "unseen; split the data again."
        )
    if size < 100:
        warnings.append(f"Only {size} images of each set are compared: the null's 1 % quantile is its minimum; give 1,000 or more.")
    return tuple(warnings)
