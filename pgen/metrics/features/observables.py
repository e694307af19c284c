"""What a physicist measures of an image: charge, where it lies, and the shape of its largest cluster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold

Floats = npt.NDArray[np.float64]

#: Name -> unit; "charge" stands for the images' own unit.
QUANTITIES = {
    "total charge": "charge",
    "lit pixels": "pixels",
    "brightest pixel": "charge",
    "mean lit pixel": "charge",
    "centroid row": "pixels",
    "centroid column": "pixels",
    "row spread": "pixels",
    "column spread": "pixels",
    "clusters": "",
    "track length": "pixels",
    "track width": "pixels",
    "track angle": "degrees",
    "track dQ/dx": "charge / pixel",
}
#: Those of signed charge: by its magnitude, and two more that know the sign. The negative fraction is that of |charge|.
SIGNED_QUANTITIES = {
    **{
        {
            "total charge": "total |charge|",
            "brightest pixel": "largest pixel |charge|",
            "mean lit pixel": "mean lit pixel |charge|",
            "track dQ/dx": "track d|Q|/dx",
        }.get(name, name): unit
        for name, unit in QUANTITIES.items()
    },
    "net charge": "charge",
    "negative fraction": "fraction",
}
#: The scale of a quantity is at least so much of its magnitude, and at least what an image resolves, by unit.
RELATIVE_LEAST = 0.05
LEAST = {"pixels": 0.1, "degrees": 1.0, "": 1.0}
#: The sine and cosine of twice an angle lie within 1, and follow it by 0.03 a degree.
LEAST_OF_ANGLE = 0.05
#: Pixels that touch by a side or a corner are one cluster; images of a stack never touch.
_TOUCHING = np.zeros((3, 3, 3), bool)
_TOUCHING[1] = True


def quantities(images: FloatArray, threshold: float = 0.0, *, signed: bool = False) -> Floats:
    """(n, C, Q) of images (n, C, H, W), in the order of QUANTITIES, or of SIGNED_QUANTITIES: of the pixels whose |charge| is above
    ``threshold``. Charge stands for |charge| in what follows.

    Spread is the charge-weighted root mean square. The track is the cluster of most charge: its length is the extent of its pixels along
    its principal axis, one pixel added; its width the charge-weighted root mean square across; its angle that of the axis to the
    columns, in (-90, 90]; dQ/dx its charge over its length. Lit pixels and clusters of a blank image are 0, as is its charge; all
    else is NaN. Neighbours of either sign are of one cluster, as the two lobes of a bipolar pulse are.
    """
    n, channels, rows, columns = images.shape
    charge = np.where(above_threshold(images, threshold), np.abs(images), 0).reshape(n * channels, rows, columns)
    labels, count = ndimage.label(charge > 0, _TOUCHING)
    image, row, column = np.nonzero(labels)
    cluster, value = labels[image, row, column] - 1, charge[image, row, column].astype(np.float64)

    stack = n * channels
    total, lit = np.bincount(image, value, stack), np.bincount(image, minlength=stack)
    (row_mean, column_mean), (row_spread, column_spread, _) = _moments(image, value, row, column, stack)

    of_cluster = np.zeros(count, np.int64)
    of_cluster[cluster] = image
    cluster_charge = np.bincount(cluster, value, count)
    order = np.lexsort((cluster_charge, of_cluster))
    largest = np.zeros(count, bool)
    largest[order[np.flatnonzero(np.diff(of_cluster[order], append=stack))]] = True
    track = largest[cluster]
    length, width, angle = _track(image[track], value[track], row[track], column[track], stack)
    track_charge = np.bincount(image[track], value[track], stack)

    brightest = charge.reshape(stack, -1).max(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [
            total,
            lit,
            np.where(lit > 0, brightest, np.nan),
            total / np.where(lit > 0, lit, np.nan),
            row_mean,
            column_mean,
            np.sqrt(row_spread),
            np.sqrt(column_spread),
            np.bincount(of_cluster, minlength=stack),
            length,
            width,
            angle,
            track_charge / length,
        ]
        if signed:
            net = np.bincount(image, images.reshape(stack, rows, columns)[image, row, column].astype(np.float64), stack)
            found += [net, (total - net) / (2 * np.where(lit > 0, total, np.nan))]
    return np.stack(found, -1).reshape(n, channels, len(found))


def least_scales(units: Mapping[str, str]) -> Floats:
    """(Q,) the least scale of each quantity by its unit, 0 where that sets none; units: QUANTITIES or SIGNED_QUANTITIES."""
    return np.array([LEAST.get(unit, 0.0) for unit in units.values()])


def least_feature_scales(units: Mapping[str, str], channels: int) -> Floats:
    """(D,) the same of the features that :func:`features_of` makes of quantities."""
    rest = np.delete(least_scales(units), list(units).index("track angle"))
    return np.tile(np.append(rest, [LEAST_OF_ANGLE, LEAST_OF_ANGLE]), channels)


def scales(values: Floats, least: Floats | float = 0.0) -> Floats:
    """Scales in which to count differences of quantities: their standard deviations, with a floor.

    A nearly constant quantity, such as the brightest pixel of images that all saturate, has a deviation
    so small that any difference would be many of them, and outweigh all other quantities in a mean.

    Args:
        values: (N, ...) real values, NaN where there is none.
        least: (...) the least scale in the unit of the values. A scale is also at least 5 % of the
            values' magnitude, the 99 % quantile of their absolute value.

    Returns:
        (...) positive scales; 1 where all values are 0 or none is known.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a quantity that no image has, as of a blank plane
        deviation, magnitude = np.nanstd(values, 0), np.nanquantile(np.abs(values), 0.99, axis=0)
    scale = np.fmax(np.fmax(deviation, RELATIVE_LEAST * magnitude), least)
    return np.where(scale > 0, scale, 1.0)


def features_of(found: Floats) -> Floats:
    """(n, D) for classifiers and Frechet distances, of quantities (n, C, Q): those of all channels, the angle by the sine and cosine of its
    double, since an axis at -90 degrees is one at 90."""
    at = list(QUANTITIES).index("track angle")
    twice = np.radians(2 * found[..., at])
    rest = np.delete(found, at, axis=-1)
    return np.concatenate([rest, np.sin(twice)[..., None], np.cos(twice)[..., None]], -1).reshape(len(found), -1)


def _moments(
    image: npt.NDArray, value: Floats, row: npt.NDArray, column: npt.NDArray, stack: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats, Floats]]:
    """Charge-weighted means of row and column, and their variances and covariance, (stack,) each; NaN without charge."""
    total = np.bincount(image, value, stack)
    total = np.where(total > 0, total, np.nan)

    def mean(values: Floats) -> Floats:
        return np.bincount(image, value * values, stack) / total

    row_mean, column_mean = mean(row), mean(column)
    dr, dc = row - row_mean[image], column - column_mean[image]
    return (row_mean, column_mean), (mean(dr * dr), mean(dc * dc), mean(dr * dc))


def _track(image: npt.NDArray, value: Floats, row: npt.NDArray, column: npt.NDArray, stack: int) -> tuple[Floats, Floats, Floats]:
    """Length, width and angle of one cluster an image, (stack,) each; NaN where there is none."""
    (row_mean, column_mean), (rr, cc, rc) = _moments(image, value, row, column, stack)
    angle = 0.5 * np.arctan2(2 * rc, cc - rr)  # of the principal axis, in closed form for two by two
    along = (column - column_mean[image]) * np.cos(angle)[image] + (row - row_mean[image]) * np.sin(angle)[image]
    across = np.maximum(0, (rr + cc) / 2 - np.hypot((rr - cc) / 2, rc))
    low, high = np.full(stack, np.inf), np.full(stack, -np.inf)
    np.minimum.at(low, image, along)
    np.maximum.at(high, image, along)
    return np.where(np.isnan(angle), np.nan, high - low + 1), np.sqrt(across), np.degrees(angle)
