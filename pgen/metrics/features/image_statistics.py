"""Charge and occupancy of sets of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgen.data.sparse import above_threshold
from pgen.errors import DataError
from pgen.metrics.validation import Images, Result, as_images, check_same_shape


@dataclass(frozen=True)
class ImageStatistics(Result):
    """Statistics of each image.

    Attributes:
        charge: (N,) net charge, in charge units.
        absolute_charge: (N,) total |charge|.
        lit: (N,) number of pixels above threshold.
        occupancy: (N,) fraction of pixels above threshold.
        threshold: The threshold in |charge|.
    """

    charge: npt.NDArray[np.float64]
    absolute_charge: npt.NDArray[np.float64]
    lit: npt.NDArray[np.int64]
    occupancy: npt.NDArray[np.float64]
    threshold: float


@dataclass(frozen=True)
class SetStatistics(Result):
    """Means and standard deviations over a set.

    Ratios are to the first set of a table; NaN if that is 0.

    Attributes:
        name: Name of the set.
        images: Number of images.
        charge_mean: Mean net charge, in which signs cancel.
        charge_std: Standard deviation of the net charge.
        absolute_charge_mean: Mean |charge|.
        charge_ratio: Ratio of the mean |charge|.
        occupancy_mean: Mean fraction of pixels above threshold.
        occupancy_std: Its standard deviation.
        occupancy_ratio: Ratio of the mean occupancy.
        blank_rate: Fraction of images without a pixel above threshold.
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
    """Compute charge and occupancy of each image.

    Args:
        images: (N, C, H, W) in charge units.
        threshold: Occupancy counts pixels whose |charge| is above; charge is that of all pixels.

    Raises:
        DataError: The images have another shape.
    """
    array = as_images(images, "images")
    charge = array.sum(axis=(1, 2, 3), dtype=np.float64)
    absolute = np.abs(array).sum(axis=(1, 2, 3), dtype=np.float64)
    lit = above_threshold(array, threshold).sum(axis=(1, 2, 3))
    return ImageStatistics(charge, absolute, lit, lit / array[0].size, float(threshold))


def compare_statistics(sets: Mapping[str, Images], threshold: float = 0) -> tuple[SetStatistics, ...]:
    """Summarise named sets of images (N, C, H, W), with ratios to the first.

    Raises:
        DataError: Shapes differ, or there is no set.
    """
    if not sets:
        raise DataError("sets: expected one or more named sets of images to compare, got none.")
    check_same_shape(**{name: as_images(images, name) for name, images in sets.items()})
    rows: list[SetStatistics] = []
    for name, images in sets.items():
        statistics = image_statistics(images, threshold)
        charge, occupancy = float(statistics.absolute_charge.mean()), float(statistics.occupancy.mean())
        rows.append(
            SetStatistics(
                name=name,
                images=len(statistics.charge),
                charge_mean=float(statistics.charge.mean()),
                charge_std=float(statistics.charge.std()),
                absolute_charge_mean=charge,
                charge_ratio=ratio(charge, rows[0].absolute_charge_mean if rows else charge),
                occupancy_mean=occupancy,
                occupancy_std=float(statistics.occupancy.std()),
                occupancy_ratio=ratio(occupancy, rows[0].occupancy_mean if rows else occupancy),
                blank_rate=float((statistics.lit == 0).mean()),
            )
        )
    return tuple(rows)


def ratio(value: float, reference: float) -> float:
    """Divide two numbers; NaN if ``reference`` is 0."""
    return value / reference if reference else np.nan
