"""Zero suppression: images without their faint pixels, as a readout would have written them, or without negative charge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pgen.data.images import Described, FloatArray, ImageSet, Indices
from pgen.data.lit import Lit, above_threshold, read_lit
from pgen.data.skipped import NOTHING


class Suppressed(Described):
    """The images of ``parent``, in which |charge| at or below ``threshold`` is 0, and with ``drop_negative`` negative charge too; still
    read on demand."""

    def __init__(self, parent: ImageSet, threshold: float, *, drop_negative: bool = False) -> None:
        self.parent, self.threshold, self.drop_negative = parent, threshold, drop_negative
        self.name, self.shape, self.unit = parent.name, parent.shape, parent.unit
        self.ids, self.events = parent.ids, parent.events
        self.labels: Mapping[str, npt.NDArray] = parent.labels
        self.geometry = getattr(parent, "geometry", None)
        self.left_out, self.about = getattr(parent, "left_out", NOTHING), getattr(parent, "about", {})

    def __len__(self) -> int:
        return len(self.parent)

    def read(self, indices: Indices) -> FloatArray:
        pixels = self.parent.read(indices)
        return np.where(self._keeps(pixels), pixels, np.float32(0))

    def lit(self, indices: Indices) -> Lit:
        """Their lit pixels."""
        lit = read_lit(self.parent, indices)
        kept = self._keeps(lit.value)
        before = np.concatenate([[0], np.cumsum(kept)])
        return Lit(before[lit.offsets], lit.place[kept], lit.value[kept])

    def _keeps(self, charge: FloatArray) -> npt.NDArray[np.bool_]:
        return charge > self.threshold if self.drop_negative else above_threshold(charge, self.threshold)
