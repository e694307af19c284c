"""Sparse images: the nonzero pixels only. 97 to 99 % of the pixels of detector images are zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


def above_threshold(charge: npt.NDArray, threshold: float) -> npt.NDArray[np.bool_]:
    """Return where |charge| is above ``threshold``."""
    return (charge > threshold) | (charge < -threshold)


def negative_fraction(charge: npt.NDArray, threshold: float = 0.0) -> float:
    """Return the negative fraction of the |charge| above ``threshold``; 0 if there is no charge."""
    negative = -float(charge.sum(dtype=np.float64, where=charge < -threshold))
    positive = float(charge.sum(dtype=np.float64, where=charge > threshold))
    return negative / (negative + positive) if negative > 0 else 0.0


class SparseImages(NamedTuple):
    """The nonzero pixels of n images, image by image, in ascending order of their flat index.

    Attributes:
        offsets: (n + 1,) where the pixels of each image begin in the other two arrays.
        flat_index: (L,) index of each pixel in its flattened (C, H, W) image.
        value: (L,) float32 charge.
    """

    offsets: npt.NDArray[np.int64]
    flat_index: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]

    @classmethod
    def from_dense(cls, pixels: npt.NDArray) -> SparseImages:
        """Take the nonzero pixels of dense images (n, ...)."""
        flat = pixels.ravel()
        index = np.flatnonzero(flat != 0)  # fastest on booleans
        size = int(np.prod(pixels.shape[1:]))
        offsets = np.searchsorted(index, size * np.arange(len(pixels) + 1))
        return cls(offsets, index % size, flat[index].astype(np.float32, copy=False))

    @classmethod
    def concatenate(cls, parts: Sequence[SparseImages]) -> SparseImages:
        """Concatenate sets of images."""
        counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
        return cls(np.cumsum(np.concatenate(counts)), *(np.concatenate([part[k] for part in parts]) for k in (1, 2)))

    def take(self, indices: npt.NDArray[np.int64]) -> SparseImages:
        """Return the images at ``indices``, in that order."""
        counts = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.offsets[indices] - offsets[:-1], counts) + np.arange(offsets[-1])
        return SparseImages(offsets, self.flat_index[source], self.value[source])

    def to_dense(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Return dense images (n, *shape)."""
        pixels = np.zeros((len(self.offsets) - 1, int(np.prod(shape))), np.float32)
        pixels[np.repeat(np.arange(len(pixels)), np.diff(self.offsets)), self.flat_index] = self.value
        return pixels.reshape(-1, *shape)
