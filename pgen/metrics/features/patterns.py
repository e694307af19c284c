"""Patterns of pixels: filled neighbourhoods, branch points, empty columns, whole charges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float64]

#: Distance in pixels of the ring on which arms of a vertex are counted.
RING = 4
#: Rows by which a track may go up or down, an even number, from one neighbour of a bad wire to the
#: other.
STEP = 4
#: Largest distance from a whole number that rounding makes.
WHOLE = 1e-3
#: Pixels with a common side or corner touch; images of a stack never do.
TOUCHING = np.zeros((3, 3, 3), bool)
TOUCHING[1] = True


def filled_fraction(charge: npt.NDArray) -> Floats:
    """Compute the fraction (S,) of pixels above threshold whose eight neighbours are, too.

    Tracks have few, showers and blobs many. NaN for blank images (S, H, W).
    """
    is_lit = charge > 0
    filled = ndimage.minimum_filter(is_lit.view(np.uint8), (1, 3, 3), mode="constant")
    return _fraction(filled.sum((1, 2)), is_lit.sum((1, 2)))


def whole_fraction(charge: npt.NDArray) -> Floats:
    """Compute the fraction (S,) of pixels above threshold with a whole charge; NaN if blank."""
    is_lit = charge > 0
    return _fraction((is_lit & (np.abs(charge - np.rint(charge)) < WHOLE)).sum((1, 2)), is_lit.sum((1, 2)))


def empty_columns(charge: npt.NDArray) -> Floats:
    """Count columns (S,) without charge that a track crosses, as on bad wires.

    A track crosses if both neighbouring columns have pixels above threshold, at most 4 rows apart.
    """
    is_lit = charge > 0
    nearby = ndimage.maximum_filter1d(is_lit.view(np.uint8), STEP + 1, axis=1, mode="constant") > 0
    is_crossed = np.any(nearby[:, :, :-2] & nearby[:, :, 2:], axis=1)
    return (is_crossed & ~is_lit[:, :, 1:-1].any(1)).sum(1).astype(float)


def vertices(labels: npt.NDArray) -> Floats:
    """Count vertices (S,): groups of pixels from which three or more arms leave.

    Arms are where a cluster crosses a square ring, 4 pixels around one of its pixels. Crossings
    with one or two pixels between them are one arm, since edges of tracks are ragged. Other
    clusters, such as isolated pixels, are no arms.

    Args:
        labels: (S, H, W) number of the cluster of each pixel; 0 below threshold.
    """
    stack = len(labels)
    padded = np.pad(labels, ((0, 0), (RING, RING), (RING, RING)))
    image, row, column = np.nonzero(labels)
    side = np.arange(-RING, RING)
    around = np.concatenate([np.stack([np.full_like(side, -RING), side]), np.stack([side, np.full_like(side, RING)])], 1)
    around = np.concatenate([around, -around], 1)  # clockwise
    flat = padded.reshape(-1)
    start = (image * padded.shape[1] + row + RING) * padded.shape[2] + column + RING
    on_ring = flat[start[:, None] + around[0] * padded.shape[2] + around[1]] == flat[start][:, None]
    on_ring |= np.roll(on_ring, 1, axis=1) | np.roll(on_ring, -1, axis=1)
    arms = (on_ring & ~np.roll(on_ring, 1, axis=1)).sum(1)
    is_vertex = np.zeros(labels.shape, bool)
    chosen = arms >= 3
    is_vertex[image[chosen], row[chosen], column[chosen]] = True
    groups, count = ndimage.label(is_vertex, TOUCHING)
    first = np.unique(groups[groups > 0], return_index=True)[1] if count else np.empty(0, np.int64)
    return np.bincount(np.nonzero(groups)[0][first], minlength=stack).astype(float)


def _fraction(part: npt.NDArray, total: npt.NDArray) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return part / np.where(total > 0, total, np.nan)
