"""Physical quantities of an image: charge, its position, clusters, and the shape of the track."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold
from pgen.metrics.features.main_track import SHORTEST, Ints, MainTrack
from pgen.metrics.features.patterns import TOUCHING, empty_columns, filled_fraction, vertices, whole_fraction

Floats = npt.NDArray[np.float64]

#: Name -> unit; "charge" is the unit of the images. These are also the features of classifiers and
#: Frechet distances.
FEATURES = {
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
SIGNED_FEATURES = {
    **{
        {
            "total charge": "total |charge|",
            "brightest pixel": "largest pixel |charge|",
            "mean lit pixel": "mean lit pixel |charge|",
            "track dQ/dx": "track d|Q|/dx",
        }.get(name, name): unit
        for name, unit in FEATURES.items()
    },
    "net charge": "charge",
    "negative fraction": "fraction",
}
#: What the eye sees first: see docs/quantities.md.
SHAPES = {
    "single-pixel clusters": "",
    "tracks": "",
    "vertices": "",
    "track sagitta": "pixels",
    "track kinks": "",
    "track gaps": "fraction",
    "track ends inside": "",
    "track opening": "ratio",
    "charge off the axis": "fraction",
    "filled neighbourhoods": "fraction",
    "empty columns": "",
    "whole charges": "fraction",
}
QUANTITIES = FEATURES | SHAPES
SIGNED_QUANTITIES = SIGNED_FEATURES | SHAPES
#: Lower limits of the scale of a quantity: a fraction of its magnitude, and what an image resolves,
#: by unit.
RELATIVE_SCALE_FLOOR = 0.05
SCALE_FLOORS = {"pixels": 0.1, "degrees": 1.0, "": 1.0, "fraction": 0.05, "ratio": 0.1}
#: Quantities whose scale has no lower limit by the unit, because small values matter.
WITHOUT_FLOOR = ("negative fraction",)
#: Largest gap in pixels of a dotted track.
GAP = 4
#: Lower limit for the sine and cosine of twice an angle, which change by up to 0.035 per degree.
ANGLE_SCALE_FLOOR = 0.05


def quantities(images: FloatArray, threshold: float = 0.0, *, signed: bool = False) -> Floats:
    """Compute the physical quantities of each image, from pixels above threshold.

    Here charge means |charge|. Spread is the charge-weighted root mean square. The track is the
    cluster with the most charge. Its length is the extent of its pixels along the principal axis,
    plus one pixel; its width is the charge-weighted root mean square across the axis; its angle is
    that of the axis to the columns, in (-90, 90]; dQ/dx is its charge divided by its length.
    Neighbours of either sign form one cluster, as the two lobes of a bipolar pulse do. The shapes
    are those of :class:`pgen.metrics.features.main_track.MainTrack` and
    :mod:`pgen.metrics.features.patterns`; a track among several is a cluster of 10 pixels' length.

    Args:
        images: (n, C, H, W) in charge units.
        threshold: Threshold in |charge|.
        signed: Compute SIGNED_QUANTITIES in place of QUANTITIES.

    Returns:
        (n, C, Q) in the order of (SIGNED_)QUANTITIES. Of a blank image, charge and counts are 0;
        all other quantities are NaN.
    """
    clusters = find_clusters(images, threshold)
    values = _features(clusters, images if signed else None)
    values += _shapes(clusters, find_clusters(images, threshold, GAP).track)
    return np.stack(values, -1).astype(np.float64).reshape(*images.shape[:2], len(values))


@dataclass(frozen=True)
class Clusters:
    """Clusters of S planes of images.

    Attributes:
        charge: (S, H, W) |charge| above threshold.
        labels: (S, H, W) number of the cluster of each pixel, from 1; 0 below threshold.
        image_of_cluster: (K,) plane of each cluster.
        cluster: (P,) cluster of each pixel.
        track: The cluster with the most charge of each plane.
    """

    charge: FloatArray
    labels: npt.NDArray[np.int32]
    image_of_cluster: Ints
    cluster: Ints
    track: MainTrack


def find_clusters(images: FloatArray, threshold: float, gap: int = 0) -> Clusters:
    """Find the clusters and the main track of each plane of images (n, C, H, W).

    Args:
        images: Images in charge units.
        threshold: Threshold in |charge|.
        gap: Even number of pixels that may lie between pixels of one cluster.
    """
    n, channels, rows, columns = images.shape
    charge = np.where(above_threshold(images, threshold), np.abs(images), 0).reshape(n * channels, rows, columns)
    is_lit = charge > 0
    grown = ndimage.maximum_filter(is_lit, (1, gap + 1, gap + 1), mode="constant") if gap else is_lit
    labels, count = ndimage.label(grown, TOUCHING)
    image, row, column = np.nonzero(is_lit)
    cluster, value = labels[image, row, column] - 1, charge[image, row, column].astype(np.float64)
    stack = n * channels
    image_of_cluster = np.zeros(count, np.int64)
    image_of_cluster[cluster] = image
    cluster_charge = np.bincount(cluster, value, count)
    order = np.lexsort((cluster_charge, image_of_cluster))
    largest = np.zeros(count, bool)
    largest[order[np.flatnonzero(np.diff(image_of_cluster[order], append=stack))]] = True
    is_main = largest[cluster]
    axis = _axis(image[is_main], value[is_main], row[is_main], column[is_main], stack)
    along, across = axis.project(image, row, column)
    length = _extent(image[is_main], along[is_main], axis.angle)
    track = MainTrack(
        (rows, columns), image, row, column, value, is_main, along, across, np.degrees(axis.angle), length, np.sqrt(axis.variance)
    )
    return Clusters(charge, np.where(is_lit, labels, 0), image_of_cluster, cluster, track)


def _features(clusters: Clusters, images: FloatArray | None) -> list[npt.NDArray]:
    """Compute FEATURES, or SIGNED_FEATURES of images with signed charge, each (S,)."""
    track, stack = clusters.track, len(clusters.charge)
    image, value, row, column = track.image, track.value, track.row, track.column
    total, n_pixels = np.bincount(image, value, stack), np.bincount(image, minlength=stack)
    (row_mean, column_mean), (row_spread, column_spread, _) = _moments(image, value, row, column, stack)
    track_charge = np.bincount(image[track.is_main], value[track.is_main], stack)
    brightest = clusters.charge.reshape(stack, -1).max(1)
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
            np.bincount(clusters.image_of_cluster, minlength=stack),
            track.length,
            track.width,
            track.angle,
            track_charge / track.length,
        ]
        if images is not None:
            net = np.bincount(image, images.reshape(clusters.charge.shape)[image, row, column].astype(np.float64), stack)
            values += [net, (total - net) / (2 * np.where(n_pixels > 0, total, np.nan))]
    return values


def _shapes(clusters: Clusters, dotted: MainTrack) -> list[npt.NDArray]:
    """Compute SHAPES, each (S,); gaps and ends are those of the track whose clusters are joined."""
    track, stack = clusters.track, len(clusters.charge)
    count = len(clusters.image_of_cluster)
    size = np.bincount(clusters.cluster, minlength=count)
    axis = _axis(clusters.cluster, track.value, track.row, track.column, count)
    length = _extent(clusters.cluster, axis.project(clusters.cluster, track.row, track.column)[0], axis.angle)
    return [
        np.bincount(clusters.image_of_cluster[size == 1], minlength=stack),
        np.bincount(clusters.image_of_cluster[length >= SHORTEST], minlength=stack),
        vertices(clusters.labels),
        track.sagitta(),
        track.kinks(),
        dotted.gap_fraction(),
        dotted.ends_inside(),
        track.opening(),
        track.charge_off_axis(),
        filled_fraction(clusters.charge),
        empty_columns(clusters.charge),
        whole_fraction(clusters.charge),
    ]


def scale_floors(units: Mapping[str, str]) -> Floats:
    """Return the lower limit (Q,) of the scale of each quantity, by its unit; 0 if it sets none."""
    return np.array([0.0 if name in WITHOUT_FLOOR else SCALE_FLOORS.get(unit, 0.0) for name, unit in units.items()])


def feature_scale_floors(units: Mapping[str, str], channels: int) -> Floats:
    """Return :func:`scale_floors` (D,) for the features of :func:`quantities_to_features`."""
    floors = scale_floors(units)[: len(units) - len(SHAPES)]
    rest = np.delete(floors, list(units).index("track angle"))
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
    the same. Shapes are left out: they are undefined for many images.
    """
    values = values[..., : values.shape[-1] - len(SHAPES)]
    angle = list(FEATURES).index("track angle")
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


@dataclass(frozen=True)
class _Axis:
    """Principal axes of the charge of S clusters, each (S,); NaN where there is none.

    Attributes:
        row: Charge-weighted mean row.
        column: Charge-weighted mean column.
        angle: Angle to the columns' direction, in radians.
        variance: Charge-weighted variance across the axis.
    """

    row: Floats
    column: Floats
    angle: Floats
    variance: Floats

    def project(self, index: npt.NDArray, row: npt.NDArray, column: npt.NDArray) -> tuple[Floats, Floats]:
        """Return positions (P,) along and across the axis ``index`` of each pixel."""
        dr, dc = row - self.row[index], column - self.column[index]
        cosine, sine = np.cos(self.angle)[index], np.sin(self.angle)[index]
        return dc * cosine + dr * sine, dr * cosine - dc * sine


def _axis(index: npt.NDArray, value: Floats, row: npt.NDArray, column: npt.NDArray, count: int) -> _Axis:
    """Compute the principal axes of ``count`` clusters, of which pixels (P,) have an index."""
    (row_mean, column_mean), (rr, cc, rc) = _moments(index, value, row, column, count)
    angle = 0.5 * np.arctan2(2 * rc, cc - rr)  # in closed form for two by two
    return _Axis(row_mean, column_mean, angle, np.maximum(0, (rr + cc) / 2 - np.hypot((rr - cc) / 2, rc)))


def _extent(index: npt.NDArray, along: Floats, angle: Floats) -> Floats:
    """Return the extent of pixels (P,) along each axis (S,), plus one pixel."""
    low, high = np.full(len(angle), np.inf), np.full(len(angle), -np.inf)
    np.minimum.at(low, index, along)
    np.maximum.at(high, index, along)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(angle), np.nan, high - low + 1)
