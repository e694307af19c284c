"""Images by their lit pixels alone: detector images are 97 to 99 % zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pgen.data.chunks import BYTES, chunk_ranges

if TYPE_CHECKING:
    from pgen.data.images import ImageSet, Indices


def above_threshold(charge: npt.NDArray, threshold: float) -> npt.NDArray[np.bool_]:
    """Where |charge| is above ``threshold``: the pixels that count as lit, whatever their sign."""
    return (charge > threshold) | (charge < -threshold)


def negative_fraction(charge: npt.NDArray, threshold: float = 0.0) -> float:
    """Of the |charge| above ``threshold`` the fraction that is negative; 0 if there is none."""
    negative = -float(charge.sum(dtype=np.float64, where=charge < -threshold))
    positive = float(charge.sum(dtype=np.float64, where=charge > threshold))
    return negative / (negative + positive) if negative > 0 else 0.0


class SparseImages(NamedTuple):
    """The pixels of n images that are not 0, one image after the other, each in the order of its pixels."""

    offsets: npt.NDArray[np.int64]  #: (n + 1,) where each image begins in the other two
    flat_index: npt.NDArray[np.int64]  #: (L,) of each pixel the place in its image, in order of channel, row, column
    value: npt.NDArray[np.float32]  #: (L,) charge

    @classmethod
    def of(cls, pixels: npt.NDArray) -> SparseImages:
        """Those of ``pixels`` (n, ...)."""
        flat = pixels.ravel()
        at = np.flatnonzero(flat != 0)  # of truth values, which it is made for
        size = int(np.prod(pixels.shape[1:]))
        return cls(np.searchsorted(at, size * np.arange(len(pixels) + 1)), at % size, flat[at].astype(np.float32, copy=False))

    @classmethod
    def join(cls, chunk_ranges: Sequence[SparseImages]) -> SparseImages:
        """One after the other."""
        counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in chunk_ranges)]
        return cls(np.cumsum(np.concatenate(counts)), *(np.concatenate([part[k] for part in chunk_ranges]) for k in (1, 2)))

    def take(self, indices: npt.NDArray[np.int64]) -> SparseImages:
        """Those of the images at ``indices``, in that order."""
        counts = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        at = np.repeat(self.offsets[indices] - offsets[:-1], counts) + np.arange(offsets[-1])
        return SparseImages(offsets, self.flat_index[at], self.value[at])

    def dense(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """(n, *shape) all pixels."""
        pixels = np.zeros((len(self.offsets) - 1, int(np.prod(shape))), np.float32)
        pixels[np.repeat(np.arange(len(pixels)), np.diff(self.offsets)), self.flat_index] = self.value
        return pixels.reshape(-1, *shape)


def read_lit(images: ImageSet, indices: Indices) -> SparseImages:
    """The lit pixels of the images at ``indices``, in that order; without a dense step from a set that has ``lit``, as a store has."""
    read = getattr(images, "lit", None)
    return SparseImages(*read(indices)) if read else SparseImages.of(images.read(indices))


def lit_counts(images: ImageSet) -> npt.NDArray[np.int64] | None:
    """(N,) how many pixels of each image are lit, where that is known without reading them."""
    return getattr(images, "lit_counts", None)


def lit_chunks(images: ImageSet, bytes_each: int = BYTES) -> Iterator[SparseImages]:
    """All images in order, in parts of about ``bytes_each`` bytes if they were dense."""
    for part in chunk_ranges(images, bytes_each):
        yield read_lit(images, part)
