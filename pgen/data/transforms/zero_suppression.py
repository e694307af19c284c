"""Zero suppression: images without faint pixels, as a readout writes them, or negative charge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray, ImageSet, Indices
from pgen.data.sparse import SparseImages, above_threshold


def suppress(pixels: FloatArray, threshold: float) -> FloatArray:
    """Set |charge| at or below ``threshold`` to 0; return the same array if there is none."""
    faint = (pixels != 0) & ~above_threshold(pixels, threshold)
    return np.where(faint, np.float32(0), pixels) if faint.any() else pixels


class SuppressedImages(ImageSet):
    """The images of ``parent`` after zero suppression, read on demand.

    Args:
        parent: The images.
        threshold: |charge| at or below it becomes 0.
        drop_negative: Whether negative charge becomes 0 too.
    """

    def __init__(self, parent: ImageSet, threshold: float, *, drop_negative: bool = False) -> None:
        self.parent, self.threshold, self.drop_negative = parent, threshold, drop_negative
        self._copy_metadata(parent)
        if threshold:
            self.zero_suppression = max(threshold, parent.zero_suppression or 0.0)

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Indices) -> FloatArray:
        """Read the images at ``indices``, (n, C, H, W)."""
        pixels = self.parent.read(indices)
        return np.where(self._is_kept(pixels), pixels, np.float32(0))

    def read_sparse(self, indices: Indices) -> SparseImages:
        """Read the nonzero pixels of the images at ``indices``."""
        pixels = self.parent.read_sparse(indices)
        is_kept = self._is_kept(pixels.value)
        counts = np.concatenate([[0], np.cumsum(is_kept)])
        return SparseImages(counts[pixels.offsets], pixels.flat_index[is_kept], pixels.value[is_kept])

    def _is_kept(self, charge: FloatArray) -> npt.NDArray[np.bool_]:
        return charge > self.threshold if self.drop_negative else above_threshold(charge, self.threshold)
