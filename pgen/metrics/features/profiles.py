"""Curves of an image: charge along and across the track, power spectrum and correlation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from pgen.data.images import FloatArray
from pgen.metrics.features.main_track import MainTrack
from pgen.metrics.features.observables import GAP, find_clusters

Floats = npt.NDArray[np.float64]

#: Bins along the track, and in units of a pixel across it and from its end.
ALONG, ACROSS, RESIDUAL, STEP = 10, 6, 30, 2
#: Bins of the power spectrum up to half a cycle per pixel, and largest distance of the correlation.
FREQUENCIES, DISTANCES = 16, 16
#: Pixels whose charge decides which end a particle stopped at.
LAST = 5.0


@dataclass(frozen=True)
class ImageProfiles:
    """One curve per image and plane.

    Attributes:
        name: What it is.
        x_label: Horizontal axis, with its unit.
        y_label: Vertical axis, with its unit; "charge" is the unit of the images.
        x: (B,) middle of the bins.
        values: (n, C, B); NaN where undefined.
    """

    name: str
    x_label: str
    y_label: str
    x: Floats
    values: Floats


def compute_profiles(images: FloatArray, threshold: float = 0.0) -> list[ImageProfiles]:
    """Compute the profiles of images (n, C, H, W) from |charge| above threshold.

    Charge along the track is that of tenths of its length, divided by its mean. Charge across is
    the fraction of the track's charge by distance from the axis. dQ/dx against residual range
    starts at an end inside the image: of two such ends at the one with more charge in the last five
    pixels, where a particle that stops loses most energy per length (Bragg peak). For it, clusters
    with up to 4 pixels between them are one track, since a gap is no end. The power spectrum is the
    fraction of the power at each frequency, without that at 0. The correlation is the mean product
    of two pixels' charge at a distance, divided by the mean square of the charge.
    """
    clusters = find_clusters(images, threshold)
    track, dotted, shape = clusters.track, find_clusters(images, threshold, GAP).track, images.shape[:2]
    frequency = (np.arange(FREQUENCIES) + 0.5) / (2 * FREQUENCIES)
    curves = [
        ("charge along the track", "position / length", "charge / mean", (np.arange(ALONG) + 0.5) / ALONG, _along(track)),
        (
            "charge across the track",
            "distance from the axis [pixels]",
            "fraction of the charge",
            np.arange(-ACROSS, ACROSS + 1.0),
            _across(track),
        ),
        ("dQ/dx from the end", "residual range [pixels]", "charge / pixel", np.arange(STEP / 2, RESIDUAL, STEP), _from_end(dotted)),
        ("power spectrum", "frequency [cycles / pixel]", "fraction of the power", frequency, power_spectrum(clusters.charge)),
        ("charge correlation", "distance [pixels]", "correlation", np.arange(1.0, DISTANCES + 1), correlation(clusters.charge)),
    ]
    return [ImageProfiles(name, x_label, y_label, x, values.reshape(*shape, -1)) for name, x_label, y_label, x, values in curves]


def power_spectrum(charge: npt.NDArray) -> Floats:
    """Compute the fraction of the power (S, FREQUENCIES) in rings of frequency of images (S, H, W).

    Frequencies beyond half a cycle per pixel, in the corners, are in no ring, but count in the
    total. NaN for images without power.
    """
    height, width = charge.shape[1:]
    power = np.abs(fft.fft2(charge.astype(np.float32))) ** 2
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None])
    is_corner = radius > 0.5
    ring = np.where(is_corner, FREQUENCIES, np.minimum((radius * 2 * FREQUENCIES).astype(int), FREQUENCIES - 1)).ravel()
    power = power.reshape(len(charge), -1).astype(np.float64)
    power[:, 0] = 0
    total = power.sum(1, keepdims=True)
    return power @ np.eye(FREQUENCIES + 1)[ring, :-1] / np.where(total > 0, total, np.nan)


def correlation(charge: npt.NDArray) -> Floats:
    """Compute the two-point correlation (S, DISTANCES) of the charge of images (S, H, W).

    Pairs are counted by their distance to the nearest pixel, within the image. NaN if blank.
    """
    height, width = charge.shape[1:]
    size = (2 * height, 2 * width)  # zeros beyond the image, so that pairs do not wrap around
    products = fft.irfft2(np.abs(fft.rfft2(charge.astype(np.float32), size)) ** 2, size).astype(np.float64)
    dy, dx = (np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) for n in (height, width))
    distance = np.rint(np.hypot(dy[:, None], dx[None])).astype(int)
    pairs = np.maximum(height - dy, 0)[:, None] * np.maximum(width - dx, 0)[None]
    in_range = (distance >= 1) & (distance <= DISTANCES) & (pairs > 0)
    member = np.eye(DISTANCES)[distance[in_range] - 1]
    sums = products[:, in_range] @ member / np.maximum(1, pairs[in_range] @ member)
    square = (charge.astype(np.float64) ** 2).mean((1, 2))[:, None]
    return sums / np.where(square > 0, square, np.nan)


def _along(track: MainTrack) -> Floats:
    """Return the charge (S, ALONG) of tenths of the track, relative to its mean; NaN if short."""
    mask = track.is_main & track.is_long[track.image]
    image, stack = track.image[mask], len(track.length)
    begin = _first(track, mask)[image]
    position = ((track.along[mask] - begin + 0.5) / track.length[image] * ALONG).astype(int).clip(0, ALONG - 1)
    charge = np.bincount(image * ALONG + position, track.value[mask], stack * ALONG).reshape(stack, ALONG)
    mean = charge.mean(1, keepdims=True)
    return charge / np.where(mean > 0, mean, np.nan)


def _across(track: MainTrack) -> Floats:
    """Return the fraction of charge (S, 2 ACROSS + 1) by distance from the axis; NaN if short."""
    mask = track.is_main & track.is_long[track.image]
    image, bins, stack = track.image[mask], 2 * ACROSS + 1, len(track.length)
    offset = np.rint(track.across[mask]).astype(int)
    inside = np.abs(offset) <= ACROSS
    total = np.bincount(image, track.value[mask], stack)[:, None]
    charge = np.bincount(image[inside] * bins + offset[inside] + ACROSS, track.value[mask][inside], stack * bins).reshape(stack, bins)
    return charge / np.where(total > 0, total, np.nan)


def _from_end(track: MainTrack) -> Floats:
    """Return dQ/dx (S, RESIDUAL / STEP) from the end; NaN beyond the track, or without an end."""
    bins, stack = RESIDUAL // STEP, len(track.length)
    mask = track.is_main & track.is_slender[track.image]
    image = track.image[mask]
    ranges, last = [], []
    for sign in (1, -1):
        residual = sign * track.along[mask]
        first = np.full(stack, np.inf)
        np.minimum.at(first, image, residual)
        ranges.append(residual - first[image])
        near = ranges[-1] < LAST
        last.append(np.bincount(image[near], track.value[mask][near], stack))
    begins, ends = track.ends
    at_begin = begins & (~ends | (last[0] >= last[1]))
    residual = np.where(at_begin[image], *ranges)
    bin_index = (residual / STEP).astype(int)
    inside = (bin_index < bins) & (begins | ends)[image]
    charge = np.bincount(image[inside] * bins + bin_index[inside], track.value[mask][inside], stack * bins).reshape(stack, bins)
    is_covered = STEP * (np.arange(bins) + 1) <= np.nan_to_num(track.length)[:, None]
    is_defined = ((begins | ends) & track.is_slender)[:, None] & is_covered
    return np.where(is_defined, charge / STEP, np.nan)


def _first(track: MainTrack, mask: npt.NDArray[np.bool_]) -> Floats:
    first = np.full(len(track.length), np.inf)
    np.minimum.at(first, track.image[mask], track.along[mask])
    return first


def join_profiles(chunks: Sequence[ImageProfiles]) -> ImageProfiles:
    """Join the same profile of several chunks of images."""
    return replace(chunks[0], values=np.concatenate([chunk.values for chunk in chunks]))


def mean_and_error(values: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard error (B,) over images of profiles (n, B), without NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a bin that no image has
        count = np.count_nonzero(~np.isnan(values), 0)
        return np.nanmean(values, 0), np.nanstd(values, 0) / np.sqrt(np.maximum(count, 1))
