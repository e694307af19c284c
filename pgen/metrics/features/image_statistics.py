"""Charge and occupancy of images, one set beside another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.data.sparse import above_threshold
from pgen.errors import PgenError
from pgen.metrics.validation import Images, Result, as_images, same_shape


@dataclass(frozen=True)
class ImageStatistics(Result):
    """Per image, (N,): net charge and total |charge| in charge units, number of pixels above threshold, and occupancy, their fraction."""

    charge: npt.NDArray[np.float64]
    absolute_charge: npt.NDArray[np.float64]
    lit: npt.NDArray[np.int64]
    occupancy: npt.NDArray[np.float64]
    threshold: float


@dataclass(frozen=True)
class SetStatistics(Result):
    """One row of the table: means and standard deviations over a set, and the ratio of its means to those of the first set (NaN over 0).

    charge_mean and charge_std are of the net charge, in which signs cancel; charge_ratio is that of the mean |charge|.
    """

    name: str
    images: int
    charge_mean: float
    charge_std: float
    absolute_charge_mean: float
    charge_ratio: float
    occupancy_mean: float
    occupancy_std: float
    occupancy_ratio: float
    blank_rate: float


def image_statistics(images: Images, threshold: float = 0) -> ImageStatistics:
    """Statistics of images (N, C, H, W), UserError on another shape; a pixel whose |charge| is above ``threshold`` is lit, charge is that
    of all pixels."""
    array = as_images(images, "images")
    charge = array.sum(axis=(1, 2, 3), dtype=np.float64)
    absolute = np.abs(array).sum(axis=(1, 2, 3), dtype=np.float64)
    lit = above_threshold(array, threshold).sum(axis=(1, 2, 3))
    return ImageStatistics(charge, absolute, lit, lit / array[0].size, float(threshold))


def compare_statistics(sets: Mapping[str, Images], threshold: float = 0) -> tuple[SetStatistics, ...]:
    """A row for each named set (N, C, H, W), in order; ratios are to the first. UserError where shapes differ or no set is given."""
    if not sets:
        raise PgenError("sets: found none, wanted one or more named sets of images to compare.")
    same_shape(**{name: as_images(images, name) for name, images in sets.items()})
    rows: list[SetStatistics] = []
    for name, images in sets.items():
        found = image_statistics(images, threshold)
        charge, occupancy = float(found.absolute_charge.mean()), float(found.occupancy.mean())
        rows.append(
            SetStatistics(
                name=name,
                images=len(found.charge),
                charge_mean=float(found.charge.mean()),
                charge_std=float(found.charge.std()),
                absolute_charge_mean=charge,
                charge_ratio=ratio(charge, rows[0].absolute_charge_mean if rows else charge),
                occupancy_mean=occupancy,
                occupancy_std=float(found.occupancy.std()),
                occupancy_ratio=ratio(occupancy, rows[0].occupancy_mean if rows else occupancy),
                blank_rate=float((found.lit == 0).mean()),
            )
        )
    return tuple(rows)


def ratio(value: float, reference: float) -> float:
    return value / reference if reference else np.nan
