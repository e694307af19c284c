"""From charge to model space and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pgen.data.images import ImageSet
from pgen.data.lit import lit_chunks
from pgen.data.scale import Scale, scale_called
from pgen.errors import UserError, described

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """Maps charge to [0, 1]: 0 is no charge, 1 is ``clip``. All charges are in the images' own unit.

    linear: q / clip; sqrt: its root; log: ln(1 + q / u) / ln(1 + clip / u); asinh: asinh(q / u) / asinh(clip / u), with u = ``unit_charge``
    the charge around which the last two turn from linear to logarithmic; others as their plug-ins have it (:class:`pgen.data.scale.Scale`).
    Exactly invertible (to rounding) on (threshold, clip].
    """

    clip: float  #: the charge that becomes 1; more is cut off
    threshold: float = 0.0  #: charge at or below it becomes 0, both ways (zero suppression)
    scale: str = "linear"
    unit_charge: float = 1.0  #: for log, asinh and the like

    def __post_init__(self) -> None:
        scale_called(self.scale)
        if not (math.isfinite(self.clip) and 0 <= self.threshold < self.clip):
            raise UserError(f"threshold={self.threshold:g} and clip={self.clip:g} do not fit, wanted 0 <= threshold < clip; change one.")
        if not (math.isfinite(self.unit_charge) and self.unit_charge > 0):
            raise UserError(f"unit_charge={self.unit_charge:g} does not fit, wanted a positive charge.")

    @classmethod
    def fit(
        cls,
        images: ImageSet,
        *,
        threshold: float = 0.0,
        clip: float | None = None,
        scale: str = "linear",
        unit_charge: float | None = None,
    ) -> Transform:
        """The transform for a training set, read in chunks: ``clip`` defaults to its greatest charge, ``unit_charge`` to its mean lit one.

        UserError if no pixel is above ``threshold``.
        """
        greatest, total, lit = 0.0, 0.0, 0
        for part in lit_chunks(images):
            above = part.value[part.value > threshold]
            if above.size:
                greatest = max(greatest, float(above.max()))
                total += float(above.sum(dtype=np.float64))
                lit += above.size
        if not lit:
            raise UserError(f"{images.name}: all images are blank, no pixel is above threshold={threshold:g}; lower it or give other data.")
        return cls(greatest if clip is None else clip, threshold, scale, total / lit if unit_charge is None else unit_charge)

    def forward(self, x: Tensor) -> Tensor:
        """Charge, of any shape, to [0, 1]."""
        import torch

        curve, unit, top = self._curve
        y = curve.forward(x.clamp(0.0, self.clip) / unit) / top
        return torch.where(x > self.threshold, y, torch.zeros_like(y))

    def inverse(self, y: Tensor) -> Tensor:
        """[0, 1], of any shape (what lies outside is clamped), to zero-suppressed charge."""
        import torch

        curve, unit, top = self._curve
        q = curve.inverse(y.clamp(0.0, 1.0) * top) * unit
        return torch.where(q > self.threshold, q, torch.zeros_like(q))

    @cached_property
    def _curve(self) -> tuple[Scale, float, float]:
        """The curve f, the charge u that it counts in, and f(clip / u)."""
        curve = scale_called(self.scale)
        unit = self.unit_charge if curve.around else self.clip
        return curve, unit, curve.top(self.clip / unit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Transform:
        """The inverse of :meth:`to_dict`; UserError on other keys or types."""
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            raise UserError(f"A transform has the keys {', '.join(sorted(known))}; found {', '.join(sorted(values)) or 'none'}.")
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise UserError(f"A transform cannot be read: {described(error)}.") from error
