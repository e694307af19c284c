"""Patterns of pixels: filled neighbourhoods, branch points, empty columns, whole charges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float64]

#: Distance in pixels of the ring on which arms of a vertex are counted.
RING = 4
#: Largest distance from a whole number that rounding makes.
WHOLE = 1e-3
#: Pixels with a common side or corner touch; images of a stack never do.
TOUCHING = np.zeros((3, 3, 3), bool)
TOUCHING[1] = True


def filled_share(charge: npt.NDArray) -> Floats:
    """Compute the share (S,) of pixels above threshold whose eight neighbours are, too.

    Tracks have few, showers and blobs many. NaN for blank images (S, H, W).
    """
    is_lit = charge > 0
    filled = ndimage.minimum_filter(is_lit.view(np.uint8), (1, 3, 3), mode="constant")
    return _share(filled.sum((1, 2)), is_lit.sum((1, 2)))


def whole_share(charge: npt.NDArray) -> Floats:
    """Compute the share (S,) of pixels above threshold with a whole charge; NaN if blank."""
    is_lit = charge > 0
    return _share((is_lit & (np.abs(charge - np.rint(charge)) < WHOLE)).sum((1, 2)), is_lit.sum((1, 2)))


def empty_columns(charge: npt.NDArray) -> Floats:
    """Count columns (S,) without charge whose neighbours both have some, as on bad wires."""
    is_lit = np.any(charge > 0, axis=1)
    return (is_lit[:, :-2] & ~is_lit[:, 1:-1] & is_lit[:, 2:]).sum(1).astype(float)


def vertices(charge: npt.NDArray) -> Floats:
    """Count vertices (S,): groups of pixels from which three or more arms leave.

    Arms are the pieces into which the pixels above threshold divide a square ring, 4 pixels around
    a pixel above threshold.
    """
    stack = len(charge)
    padded = np.pad(charge > 0, ((0, 0), (RING, RING), (RING, RING)))
    image, row, column = np.nonzero(charge > 0)
    side = np.arange(-RING, RING)
    around = np.concatenate([np.stack([np.full_like(side, -RING), side]), np.stack([side, np.full_like(side, RING)])], 1)
    around = np.concatenate([around, -around], 1)  # clockwise
    flat = padded.reshape(-1)
    start = (image * padded.shape[1] + row + RING) * padded.shape[2] + column + RING
    is_lit = flat[start[:, None] + around[0] * padded.shape[2] + around[1]]
    arms = (is_lit & ~np.roll(is_lit, 1, axis=1)).sum(1)
    is_vertex = np.zeros(charge.shape, bool)
    chosen = arms >= 3
    is_vertex[image[chosen], row[chosen], column[chosen]] = True
    labels, count = ndimage.label(is_vertex, TOUCHING)
    first = np.unique(labels[labels > 0], return_index=True)[1] if count else np.empty(0, np.int64)
    return np.bincount(np.nonzero(labels)[0][first], minlength=stack).astype(float)


def _share(part: npt.NDArray, total: npt.NDArray) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return part / np.where(total > 0, total, np.nan)
