"""The Hamming test: are generated images closer to the training images than unseen real images are?

Images become binary at a charge threshold, and both Hamming and Jaccard distances are asked, since each has its blind side: raw
Hamming takes a blank or dim image for a copy, as it is close to everything. Copying is claimed only where both say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold
from pgen.errors import PgenError
from pgen.metrics.memorisation.hamming_result import DistanceResult, Distances, HammingResult, Pair, Power, ThresholdResult, verdict
from pgen.metrics.memorisation.nearest_neighbours import DISTANCES, BinaryImages, Neighbours, binarise, from_bits, nearest
from pgen.metrics.memorisation.statistics import Memorisation, authenticity, mann_whitney_z, memorisation, reuse
from pgen.metrics.memorisation.strata import KMeansStrata
from pgen.metrics.validation import Images, as_images, same_shape

MINIMUM = 20  #: images a set needs
PLANTED = (0.0, 0.01, 0.05, 0.10)  #: shares of copies in the power self-test; the first is its control
NOISE = 0.1  #: share of the lit pixels of a planted copy that go dark, and as many others light up
_SEARCHES = 8  # nearest-neighbour searches at one threshold, the unit of progress

Ints = npt.NDArray[np.int64]


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
) -> HammingResult:
    """Compare nearest-neighbour distances of generated -> train with held-out -> train, the null.

    Args:
        generated, train, held_out: (N, C, H, W) in charge units; N may differ. Generated and held-out images are compared in equal
            number, drawn without replacement from the larger set, against all of train.
        thresholds: charges; a pixel whose |charge| is above is lit.
        seed: of the draws, the cells and the planted copies.
        device: where distances are computed.
        progress: called with (searches done, searches in all).
        pairs: how many of the most suspicious pairs to list.

    Raises:
        UserError: a set has fewer than 20 images, another shape, NaN pixels, or a threshold is not finite.
    """
    sets = {
        name: as_images(images, name, at_least=MINIMUM)
        for name, images in (("train", train), ("generated", generated), ("held_out", held_out))
    }
    same_shape(**sets)
    if not len(thresholds) or not np.isfinite(thresholds).all():
        raise PgenError(f"thresholds: found {list(thresholds)}, wanted one or more finite charges, such as 0 or 10.")
    size = min(map(len, sets.values()))
    rng = np.random.default_rng(seed)
    drawn = {name: np.sort(rng.choice(len(images), size, replace=False)) for name, images in sets.items()}
    overlap = shared_images(sets["train"], sets["held_out"])

    done, total = count(1), _SEARCHES * len(thresholds)

    def search(queries: BinaryImages, reference: BinaryImages, own: Ints | None = None) -> Neighbours:
        found = nearest(queries, reference, own=own)
        if progress:
            progress(next(done), total)
        return found

    at = tuple(
        _at_threshold(sets, drawn, threshold, np.random.default_rng((seed, i)), device, search, pairs)
        for i, threshold in enumerate(thresholds)
    )
    return HammingResult(
        thresholds=at,
        sizes={name: len(images) for name, images in sets.items()},
        compared=size,
        shape=sets["train"].shape[1:],
        seed=seed,
        overlap=overlap,
        warnings=_warnings(size, overlap),
    )


@dataclass(frozen=True)
class _Queries:
    """Images to be judged: (N,) distances to train by name, lit pixels and cells."""

    distance: dict[str, npt.NDArray[np.float64]]
    lit: Ints
    cell: Ints

    def planted(self, places: Ints, copies: _Queries) -> _Queries:
        """These images with the first of ``copies`` in ``places``."""

        def put(old: npt.NDArray, new: npt.NDArray) -> npt.NDArray:
            result = old.copy()
            result[places] = new[: len(places)]
            return result

        distance = {name: put(self.distance[name], copies.distance[name]) for name in DISTANCES}
        return _Queries(distance, put(self.lit, copies.lit), put(self.cell, copies.cell))

    def not_blank(self) -> _Queries:
        """These images without the blank ones."""
        keep = self.lit > 0
        return _Queries({name: values[keep] for name, values in self.distance.items()}, self.lit[keep], self.cell[keep])


def _judge(queries: _Queries, null: _Queries) -> dict[str, Memorisation]:
    """The verdict of each distance, on images that are not blank; only the global Z, which decides nothing, is of all.

    A blank image lies on blank training images without being a copy, and where more than 1 % of the held-out images are blank they would
    make the cutoff 0, below which there is no copy at all.
    """
    seen, unseen = queries.not_blank(), null.not_blank()
    lit, cells = (seen.lit, unseen.lit), (seen.cell, unseen.cell)
    judged = {name: memorisation(seen.distance[name], unseen.distance[name], lit=lit, cells=cells) for name in DISTANCES}
    return {name: replace(judged[name], z=mann_whitney_z(queries.distance[name], null.distance[name])) for name in DISTANCES}


def _at_threshold(
    sets: dict[str, FloatArray],
    drawn: dict[str, Ints],
    threshold: float,
    rng: np.random.Generator,
    device: str | torch.device,
    search: Callable[..., Neighbours],
    pairs: int,
) -> ThresholdResult:
    train = binarise(sets["train"], threshold, device)
    some_train = train.take(drawn["train"])
    compared = {name: binarise(sets[name][drawn[name]], threshold, device) for name in ("generated", "held_out")}
    size = len(some_train)

    cells = KMeansStrata(some_train.bits, sets["train"].shape[1:], int(np.clip(size // 50, 1, 10)), rng)
    near = {name: search(images, train) for name, images in compared.items()}
    generated, null = (_Queries(near[name].distance, images.lit, cells.of(images.bits)) for name, images in compared.items())

    # Leave-one-out distances within train: a sample for the distribution, and every neighbour for its authenticity.
    asked = np.unique(np.concatenate([drawn["train"], *(found.index[name] for found in near.values() for name in DISTANCES)]))
    within = search(train.take(asked), train, asked)

    def leave_one_out(indices: Ints) -> dict[str, npt.NDArray[np.float64]]:
        return {name: within.distance[name][np.searchsorted(asked, indices)] for name in DISTANCES}

    real = _Queries(leave_one_out(drawn["train"]), some_train.lit, cells.of(some_train.bits))
    everyone = np.arange(size)
    distributions = {
        "generated_to_train": generated.distance,
        "held_out_to_train": null.distance,
        "train_to_train": real.distance,
        "generated_to_generated": search(compared["generated"], compared["generated"], everyone).distance,
        "held_out_to_held_out": search(compared["held_out"], compared["held_out"], everyone).distance,
        "train_to_generated": search(some_train, compared["generated"]).distance,
        "train_to_held_out": search(some_train, compared["held_out"]).distance,
    }

    judged = _judge(generated, null)
    distances = {}
    for name in DISTANCES:
        index, index_null = (near[key].index[name][compared[key].lit > 0] for key in ("generated", "held_out"))
        distances[name] = DistanceResult(
            nearest={key: Distances.of(values[name]) for key, values in distributions.items()},
            memorisation=judged[name],
            authenticity=authenticity(generated.not_blank().distance[name], leave_one_out(index)[name]),
            authenticity_null=authenticity(null.not_blank().distance[name], leave_one_out(index_null)[name]),
            reuse=reuse(index),
            reuse_null=reuse(index_null),
        )

    planted = _plant(train, max(1, round(max(PLANTED) * size)), rng)
    copies = _Queries(search(planted, train).distance, planted.lit, cells.of(planted.bits))
    power = _power(real, copies, null, rng) if train.lit.any() else ()

    blank = {name: float(1 - above_threshold(images, threshold).any(axis=(1, 2, 3)).mean()) for name, images in sets.items()}
    found, sentence = verdict(threshold, blank, distances, power)
    return ThresholdResult(
        threshold=float(threshold),
        blank_rate=blank,
        distances=distances,
        duplicates=_duplicates(generated),
        duplicates_null=_duplicates(null),
        pairs=_suspicious(near["generated"], compared["generated"], train, drawn["generated"], pairs),
        power=power,
        copying=found,
        verdict=sentence,
    )


def _duplicates(queries: _Queries) -> int:
    return int(((queries.distance["hamming"] == 0) & (queries.lit > 0)).sum())


def _plant(train: BinaryImages, copies: int, rng: np.random.Generator) -> BinaryImages:
    """Noisy copies of training images that are not blank."""
    lit = np.flatnonzero(train.lit) if train.lit.any() else np.arange(len(train))
    chosen = train.take(rng.choice(lit, copies))
    bits = chosen.bits.cpu().numpy()
    light_up = NOISE * chosen.lit / np.maximum(bits.shape[1] - chosen.lit, 1)
    flip = rng.random(bits.shape) < np.where(bits, NOISE, light_up[:, None])
    return from_bits(torch.from_numpy(bits ^ flip).to(train.bits.device))


def _power(real: _Queries, copies: _Queries, null: _Queries, rng: np.random.Generator) -> tuple[Power, ...]:
    """Plant copies among real images (training images held against the rest of train), then judge these as if generated."""
    places = rng.permutation(len(real.lit))
    rows = []
    for share in PLANTED:
        number = round(share * len(places))
        judged = _judge(real.planted(places[:number], copies), null)
        by = {name: result.copying for name, result in judged.items()}
        rows.append(Power(share, number, {name: result.copy_rate_matched for name, result in judged.items()}, by, all(by.values())))
    return tuple(rows)


def _suspicious(near: Neighbours, images: BinaryImages, train: BinaryImages, original: Ints, pairs: int) -> tuple[Pair, ...]:
    """The closest by Jaccard, and of equals the brighter one: one shared pixel is little evidence."""
    distance, index = near.distance["jaccard"], near.index["jaccard"]
    order = np.lexsort((-images.lit, distance))
    order = order[images.lit[order] > 0][:pairs]
    differ = (images.take(order).bits ^ train.take(index[order]).bits).sum(1).tolist()
    return tuple(
        Pair(int(original[i]), int(index[i]), pixels, float(distance[i]), int(images.lit[i]), int(train.lit[index[i]]))
        for i, pixels in zip(order, differ, strict=True)
    )


def shared_images(train: FloatArray, held_out: FloatArray) -> int:
    """Held-out images, blank ones aside, that are training images to the last bit."""
    known = {hashlib.blake2b(image.tobytes()).digest() for image in train}
    return sum(bool(image.any()) and hashlib.blake2b(image.tobytes()).digest() in known for image in held_out)


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
