"""Copies by group: images of similar occupancy, or with one label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pgen.data.labels import CLASSES, convert_labels, plain_labels
from pgen.errors import DataError
from pgen.metrics.memorisation.statistics import clopper_pearson
from pgen.metrics.validation import Result

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
#: Label name -> (N,) or (N, k) labels.
Labels = Mapping[str, npt.NDArray]


@dataclass(frozen=True)
class Group(Result):
    """Copies among the images of one group, by the cutoff of all images.

    A model copies some images before others: those of sparse regions, or of a rare type. Rates are
    NaN if a set has no image of the group.

    Attributes:
        name: What the images have in common.
        generated: Number of generated images.
        copies: Those that are strictly closer to train than the cutoff.
        copy_rate: Their fraction.
        copy_interval: Its 95 % Clopper-Pearson interval.
        held_out: Number of held-out images.
        null_rate: The fraction of these that is closer to train than the cutoff.
        null_interval: Its 95 % Clopper-Pearson interval.
    """

    name: str
    generated: int
    copies: int
    copy_rate: float
    copy_interval: tuple[float, float]
    held_out: int
    null_rate: float
    null_interval: tuple[float, float]


@dataclass(frozen=True)
class Grouping:
    """The groups of two sets of images.

    Attributes:
        names: (K,) names of the groups.
        generated: (n,) group of each generated image, a number from 0.
        held_out: (m,) group of each held-out image.
    """

    names: tuple[str, ...]
    generated: Ints
    held_out: Ints


def group_by_occupancy(generated: Ints, held_out: Ints) -> Grouping:
    """Group images by the quartiles of the occupancy of held-out images; fewer if they tie.

    Args:
        generated: (n,) pixels above threshold.
        held_out: (m,) the same.
    """
    edges: list[int] = []
    if len(held_out):
        starts = np.unique(np.quantile(held_out, [0.25, 0.5, 0.75], method="higher"))  # numbers of pixels that occur
        edges = starts[starts > held_out.min()].tolist()
    names = ["all"]
    if edges:
        between = (f"{low} to {high - 1} pixels" for low, high in pairwise(edges))
        names = [f"up to {edges[0] - 1} pixels", *between, f"{edges[-1]} pixels or more"]
    return Grouping(tuple(names), *(np.searchsorted(edges, n_pixels, side="right") for n_pixels in (generated, held_out)))


def group_by_labels(generated: Labels, held_out: Labels) -> dict[str, Grouping]:
    """Group images by each label that both sets have, with at most 12 different values.

    Labels that cannot be compared, such as names in one set and numbers in the other, are left out.

    Args:
        generated: Labels of the generated images.
        held_out: Labels of the held-out images.
    """
    groupings = {}
    for label in sorted(set(generated) & set(held_out)):
        try:
            reference = plain_labels(held_out[label])
            values = convert_labels(generated[label], reference, label)
        except DataError:
            continue
        if values.ndim > 1 or reference.ndim > 1:
            continue
        classes, index = np.unique(np.concatenate([values, reference]), return_inverse=True)
        if len(classes) <= CLASSES:
            names = tuple(f"{label} {value}" for value in classes.tolist())
            groupings[label] = Grouping(names, *np.split(index, [len(values)]))
    return groupings


def count_copies(generated: Floats, held_out: Floats, cutoff: float, grouping: Grouping) -> tuple[Group, ...]:
    """Count the copies of each group.

    Args:
        generated: (n,) distances to train.
        held_out: (m,) the same.
        cutoff: A generated image that is strictly closer is a copy.
        grouping: Groups of these images.
    """
    groups = []
    for k, name in enumerate(grouping.names):
        near, null = generated[grouping.generated == k] < cutoff, held_out[grouping.held_out == k] < cutoff
        copy_rate, null_rate = (float(is_close.mean()) if len(is_close) else np.nan for is_close in (near, null))
        copies = int(near.sum())
        groups.append(
            Group(
                name=name,
                generated=len(near),
                copies=copies,
                copy_rate=copy_rate,
                copy_interval=clopper_pearson(copies, len(near)),
                held_out=len(null),
                null_rate=null_rate,
                null_interval=clopper_pearson(int(null.sum()), len(null)),
            )
        )
    return tuple(groups)
