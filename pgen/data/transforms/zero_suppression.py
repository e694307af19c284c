"""Zero suppression: images without their faint pixels, as a readout would have written them, or without negative charge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray, ImageSet, ImageSetBase, Indices
from pgen.data.skipped import NOTHING
from pgen.data.sparse import SparseImages, above_threshold, read_lit

#: What a set's ``about`` calls the threshold at or below which |charge| is 0.
NOTE = "zero_suppression"


def suppress(pixels: FloatArray, threshold: float) -> FloatArray:
    """Set |charge| at or below ``threshold`` to 0 in finite ``pixels``; the array itself where there is nothing to set."""
    faint = (pixels != 0) & ~above_threshold(pixels, threshold)
    return np.where(faint, np.float32(0), pixels) if faint.any() else pixels


def zero_suppression(images: ImageSet) -> float | None:
    """Return the threshold at or below which |charge| is 0 in all of ``images``, or None if that is not known."""
    noted = getattr(images, "about", {}).get(NOTE)
    return float(noted) if noted is not None and 0 <= noted < math.inf else None


def note_suppression(images: ImageSetBase, threshold: float | None) -> None:
    """Note the threshold at or below which |charge| is 0 in ``images``: stores and npz files keep it."""
    images.about = {key: value for key, value in images.about.items() if key != NOTE}
    if threshold is not None:
        images.about[NOTE] = threshold


def least_suppression(sets: Iterable[ImageSet]) -> float | None:
    """Return the threshold at or below which |charge| is 0 in all ``sets``, or None if that is not known of one."""
    noted = [zero_suppression(images) for images in sets]
    return None if None in noted else min(noted)  # type: ignore[type-var]


class Suppressed(ImageSetBase):
    """The images of ``parent``, in which |charge| at or below ``threshold`` is 0, and with ``drop_negative`` negative charge too; still
    read on demand."""

    def __init__(self, parent: ImageSet, threshold: float, *, drop_negative: bool = False) -> None:
        self.parent, self.threshold, self.drop_negative = parent, threshold, drop_negative
        self.name, self.shape, self.unit = parent.name, parent.shape, parent.unit
        self.ids, self.events = parent.ids, parent.events
        self.labels: Mapping[str, npt.NDArray] = parent.labels
        self.geometry = getattr(parent, "geometry", None)
        self.left_out, self.about = getattr(parent, "left_out", NOTHING), getattr(parent, "about", {})
        if threshold:
            note_suppression(self, max(threshold, zero_suppression(parent) or 0.0))

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Indices) -> FloatArray:
        pixels = self.parent.read(indices)
        return np.where(self._keeps(pixels), pixels, np.float32(0))

    def lit(self, indices: Indices) -> SparseImages:
        """Their lit pixels."""
        lit = read_lit(self.parent, indices)
        kept = self._keeps(lit.value)
        before = np.concatenate([[0], np.cumsum(kept)])
        return SparseImages(before[lit.offsets], lit.flat_index[kept], lit.value[kept])

    def _keeps(self, charge: FloatArray) -> npt.NDArray[np.bool_]:
        return charge > self.threshold if self.drop_negative else above_threshold(charge, self.threshold)
