"""Physical quantities of an image: charge, its position, and the shape of the largest cluster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold

Floats = npt.NDArray[np.float64]

#: Name -> unit; "charge" is the unit of the images.
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
#: The same for signed charge: of |charge|, and two more that depend on the sign. The negative
#: fraction is that of |charge|.
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
#: Lower limits of the scale of a quantity: a fraction of its magnitude, and what an image resolves,
#: by unit.
RELATIVE_SCALE_FLOOR = 0.05
SCALE_FLOORS = {"pixels": 0.1, "degrees": 1.0, "": 1.0}
#: Lower limit for the sine and cosine of twice an angle, which change by up to 0.035 per degree.
ANGLE_SCALE_FLOOR = 0.05
#: Pixels with a common side or corner belong to one cluster; images of a stack never touch.
_TOUCHING = np.zeros((3, 3, 3), bool)
_TOUCHING[1] = True


def quantities(images: FloatArray, threshold: float = 0.0, *, signed: bool = False) -> Floats:
    """Compute the physical quantities of each image, from pixels above threshold.

    Here charge means |charge|. Spread is the charge-weighted root mean square. The track is the
    cluster with the most charge. Its length is the extent of its pixels along the principal axis,
    plus one pixel; its width is the charge-weighted root mean square across the axis; its angle is
    that of the axis to the columns, in (-90, 90]; dQ/dx is its charge divided by its length.
    Neighbours of either sign form one cluster, as the two lobes of a bipolar pulse do.

    Args:
        images: (n, C, H, W) in charge units.
        threshold: Threshold in |charge|.
        signed: Compute SIGNED_QUANTITIES in place of QUANTITIES.

    Returns:
        (n, C, Q) in the order of (SIGNED_)QUANTITIES. Of a blank image, charge, pixels above
        threshold and clusters are 0; all other quantities are NaN.
    """
    n, channels, rows, columns = images.shape
    charge = np.where(above_threshold(images, threshold), np.abs(images), 0).reshape(n * channels, rows, columns)
    labels, count = ndimage.label(charge > 0, _TOUCHING)
    image, row, column = np.nonzero(labels)
    cluster, value = labels[image, row, column] - 1, charge[image, row, column].astype(np.float64)

    stack = n * channels
    total, n_pixels = np.bincount(image, value, stack), np.bincount(image, minlength=stack)
    (row_mean, column_mean), (row_spread, column_spread, _) = _moments(image, value, row, column, stack)

    image_of_cluster = np.zeros(count, np.int64)
    image_of_cluster[cluster] = image
    cluster_charge = np.bincount(cluster, value, count)
    order = np.lexsort((cluster_charge, image_of_cluster))
    largest = np.zeros(count, bool)
    largest[order[np.flatnonzero(np.diff(image_of_cluster[order], append=stack))]] = True
    track = largest[cluster]
    length, width, angle = _track(image[track], value[track], row[track], column[track], stack)
    track_charge = np.bincount(image[track], value[track], stack)

    brightest = charge.reshape(stack, -1).max(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [
            total,
            n_pixels,
            np.where(n_pixels > 0, brightest, np.nan),
            total / np.where(n_pixels > 0, n_pixels, np.nan),
            row_mean,
            column_mean,
            np.sqrt(row_spread),
            np.sqrt(column_spread),
            np.bincount(image_of_cluster, minlength=stack),
            length,
            width,
            angle,
            track_charge / length,
        ]
        if signed:
            net = np.bincount(image, images.reshape(stack, rows, columns)[image, row, column].astype(np.float64), stack)
            values += [net, (total - net) / (2 * np.where(n_pixels > 0, total, np.nan))]
    return np.stack(values, -1).reshape(n, channels, len(values))


def scale_floors(units: Mapping[str, str]) -> Floats:
    """Return the lower limit (Q,) of the scale of each quantity, by its unit; 0 if it sets none."""
    return np.array([SCALE_FLOORS.get(unit, 0.0) for unit in units.values()])


def feature_scale_floors(units: Mapping[str, str], channels: int) -> Floats:
    """Return :func:`scale_floors` (D,) for the features of :func:`quantities_to_features`."""
    rest = np.delete(scale_floors(units), list(units).index("track angle"))
    return np.tile(np.append(rest, [ANGLE_SCALE_FLOOR, ANGLE_SCALE_FLOOR]), channels)


def scales(values: Floats, floor: Floats | float = 0.0) -> Floats:
    """Compute the scale of each quantity: its standard deviation, with a lower limit.

    Without the limit, a nearly constant quantity, such as the brightest pixel of images that all
    saturate, would dominate every mean over quantities.

    Args:
        values: (N, ...) of real images, NaN if undefined.
        floor: (...) lower limit of the scale in the unit of the values. A scale is also at least 5
            % of the values' magnitude, the 99 % quantile of their absolute value.

    Returns:
        (...) positive scales; 1 if all values are 0 or undefined.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a quantity that no image has, as of a blank plane
        deviation, magnitude = np.nanstd(values, 0), np.nanquantile(np.abs(values), 0.99, axis=0)
    scale = np.fmax(np.fmax(deviation, RELATIVE_SCALE_FLOOR * magnitude), floor)
    return np.where(scale > 0, scale, 1.0)


def robust_scales(values: Floats, floor: Floats | float = 0.0) -> Floats:
    """Compute the spread of each quantity, with the lower limit of :func:`scales`.

    It is half of the range of the central 68 %, the standard deviation of a Gaussian, which a few
    extreme images do not change.

    Args:
        values: (N, ...) of real images, NaN if undefined.
        floor: (...) lower limit in the unit of the values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a quantity that no image has, as of a blank plane
        low, high, magnitude = np.nanquantile(values, 0.16, 0), np.nanquantile(values, 0.84, 0), np.nanquantile(np.abs(values), 0.99, 0)
    scale = np.fmax(np.fmax((high - low) / 2, RELATIVE_SCALE_FLOOR * magnitude), floor)
    return np.where(scale > 0, scale, 1.0)


def quantities_to_features(values: Floats) -> Floats:
    """Convert quantities (n, C, Q) to features (n, D) for classifiers and Frechet distances.

    The angle becomes the sine and cosine of twice the angle, since axes at -90 and 90 degrees are
    the same.
    """
    angle = list(QUANTITIES).index("track angle")
    twice = np.radians(2 * values[..., angle])
    rest = np.delete(values, angle, axis=-1)
    return np.concatenate([rest, np.sin(twice)[..., None], np.cos(twice)[..., None]], -1).reshape(len(values), -1)


def _moments(
    image: npt.NDArray, value: Floats, row: npt.NDArray, column: npt.NDArray, stack: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats, Floats]]:
    """Compute charge-weighted means of row and column, their variances and covariance.

    All are (stack,); NaN without charge.
    """
    total = np.bincount(image, value, stack)
    total = np.where(total > 0, total, np.nan)

    def mean(values: Floats) -> Floats:
        return np.bincount(image, value * values, stack) / total

    row_mean, column_mean = mean(row), mean(column)
    dr, dc = row - row_mean[image], column - column_mean[image]
    return (row_mean, column_mean), (mean(dr * dr), mean(dc * dc), mean(dr * dc))


def _track(image: npt.NDArray, value: Floats, row: npt.NDArray, column: npt.NDArray, stack: int) -> tuple[Floats, Floats, Floats]:
    """Compute length, width and angle (stack,) of one cluster per image; NaN if there is none."""
    (row_mean, column_mean), (rr, cc, rc) = _moments(image, value, row, column, stack)
    angle = 0.5 * np.arctan2(2 * rc, cc - rr)  # of the principal axis, in closed form for two by two
    along = (column - column_mean[image]) * np.cos(angle)[image] + (row - row_mean[image]) * np.sin(angle)[image]
    across = np.maximum(0, (rr + cc) / 2 - np.hypot((rr - cc) / 2, rc))
    low, high = np.full(stack, np.inf), np.full(stack, -np.inf)
    np.minimum.at(low, image, along)
    np.maximum.at(high, image, along)
    return np.where(np.isnan(angle), np.nan, high - low + 1), np.sqrt(across), np.degrees(angle)
