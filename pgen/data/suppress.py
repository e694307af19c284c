"""Zero suppression: images without their faint pixels, as a readout would have written them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from pgen.data.images import Described, FloatArray, ImageSet, Indices
from pgen.data.lit import Lit, read_lit

#: What a set's ``about`` calls the charge up to which it holds none.
NOTE = "zero_suppression"


def suppress(pixels: FloatArray, threshold: float) -> FloatArray:
    """Set |charge| at or below ``threshold`` to 0; the array itself where there is nothing to set."""
    faint = (np.abs(pixels) <= threshold) & (pixels != 0)
    return np.where(faint, np.float32(0), pixels) if faint.any() else pixels


def zero_suppression(images: ImageSet) -> float | None:
    """Return the charge at or below which all of ``images`` is 0, or None if that is not known."""
    noted = getattr(images, "about", {}).get(NOTE)
    return float(noted) if noted is not None and 0 <= noted < math.inf else None


def note_suppression(images: Described, threshold: float | None) -> None:
    """Note the charge at or below which ``images`` hold 0: stores and npz files keep it."""
    images.about = {key: value for key, value in images.about.items() if key != NOTE}
    if threshold is not None:
        images.about[NOTE] = threshold


def least_suppression(sets: Iterable[ImageSet]) -> float | None:
    """Return the charge up to which none of ``sets`` holds any, or None if that is not known of one."""
    noted = [zero_suppression(images) for images in sets]
    return None if None in noted else min(noted)  # type: ignore[type-var]


class Suppressed(Described):
    """The images of ``parent``, in which charge at or below ``threshold`` is 0; still read on demand."""

    def __init__(self, parent: ImageSet, threshold: float) -> None:
        self.parent, self.threshold = parent, threshold
        self.name, self.shape, self.unit = parent.name, parent.shape, parent.unit
        self.ids, self.events = parent.ids, parent.events
        self.labels: Mapping[str, npt.NDArray] = parent.labels
        self.geometry = getattr(parent, "geometry", None)
        self.skipped, self.about = getattr(parent, "skipped", 0), getattr(parent, "about", {})
        note_suppression(self, max(threshold, zero_suppression(parent) or 0.0))

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Indices) -> FloatArray:
        pixels = self.parent.read(indices)
        return np.where(pixels > self.threshold, pixels, np.float32(0))

    def lit(self, indices: Indices) -> Lit:
        """Their lit pixels."""
        lit = read_lit(self.parent, indices)
        kept = lit.value > self.threshold
        before = np.concatenate([[0], np.cumsum(kept)])
        return Lit(before[lit.offsets], lit.place[kept], lit.value[kept])
