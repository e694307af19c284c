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
from pgen.data.sparse import above_threshold, lit_chunks
from pgen.data.transforms.charge_scales import Scale, get_scale
from pgen.errors import PgenError, one_line

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ChargeBalance:
    """What a transform does to the charge of a set of images, in fractions of its total |charge|.

    signed: of the transform. negative: of the |charge| above the threshold, the fraction that is negative; an unsigned transform loses it.
    suppressed: at or below the threshold. clipped: beyond ``clip``.
    """

    signed: bool
    negative: float
    suppressed: float
    clipped: float


@dataclass(frozen=True)
class ChargeTransform:
    """Maps charge to what a model sees: [0, 1], or for ``signed`` charge [-1, 1]. 0 is no charge, 1 is ``clip``. All charges are in the
    images' own unit.

    linear: q / clip; sqrt: its root; log: ln(1 + q / u) / ln(1 + clip / u); asinh: asinh(q / u) / asinh(clip / u), with u = ``unit_charge``
    the charge around which the last two turn from linear to logarithmic; others as their plug-ins have it (:class:`pgen.data.transforms.charge_scales.Scale`).
    Signed charge goes by its magnitude, sign(q) f(|q|), so that the map is odd; unsigned charge below 0 becomes 0.
    Exactly invertible (to rounding) on threshold < |q| <= clip.
    """

    clip: float  #: the |charge| that becomes 1; more is cut off
    threshold: float = 0.0  #: |charge| at or below it becomes 0, both ways (zero suppression)
    scale: str = "linear"
    unit_charge: float = 1.0  #: for log, asinh and the like
    signed: bool = False

    def __post_init__(self) -> None:
        get_scale(self.scale)
        if not (math.isfinite(self.clip) and 0 <= self.threshold < self.clip):
            raise PgenError(f"threshold={self.threshold:g} and clip={self.clip:g} do not fit, wanted 0 <= threshold < clip; change one.")
        if not (math.isfinite(self.unit_charge) and self.unit_charge > 0):
            raise PgenError(f"unit_charge={self.unit_charge:g} does not fit, wanted a positive charge.")

    @classmethod
    def fit(
        cls,
        images: ImageSet,
        *,
        threshold: float = 0.0,
        clip: float | None = None,
        scale: str = "linear",
        unit_charge: float | None = None,
    ) -> ChargeTransform:
        """Fit the transform of a training set: :func:`fit_transform` without the balance."""
        return fit_transform(images, threshold=threshold, clip=clip, scale=scale, unit_charge=unit_charge)[0]

    def balance(self, images: ImageSet) -> ChargeBalance:
        """Measure what the transform does to the charge of ``images``, read in chunks."""
        return _Sums.over(images, self.threshold, self.clip).balance(self.signed)

    def forward(self, x: Tensor) -> Tensor:
        """Charge, of any shape, to model space."""
        import torch

        curve, unit, top = self._curve
        magnitude = x.abs() if self.signed else x
        y = curve.forward(magnitude.clamp(0.0, self.clip) / unit) / top
        y = torch.where(magnitude > self.threshold, y, torch.zeros_like(y))
        return y * x.sign() if self.signed else y

    def inverse(self, y: Tensor) -> Tensor:
        """Model space, of any shape (what lies outside is clamped), to zero-suppressed charge."""
        import torch

        curve, unit, top = self._curve
        magnitude = y.abs() if self.signed else y
        q = curve.inverse(magnitude.clamp(0.0, 1.0) * top) * unit
        q = torch.where(q > self.threshold, q, torch.zeros_like(q))
        return q * y.sign() if self.signed else q

    @cached_property
    def _curve(self) -> tuple[Scale, float, float]:
        """The curve f, the charge u that it counts in, and f(clip / u)."""
        curve = get_scale(self.scale)
        unit = self.unit_charge if curve.around else self.clip
        return curve, unit, curve.top(self.clip / unit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChargeTransform:
        """The inverse of :meth:`to_dict`; UserError on other keys or types."""
        known = {f.name for f in fields(cls)}
        if {*values, "signed"} != known:  # which transforms of earlier versions lack: they are unsigned
            raise PgenError(f"A transform has the keys {', '.join(sorted(known))}; found {', '.join(sorted(values)) or 'none'}.")
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise PgenError(f"A transform cannot be read: {one_line(error)}.") from error


def fit_transform(
    images: ImageSet, *, threshold: float = 0.0, clip: float | None = None, scale: str = "linear", unit_charge: float | None = None
) -> tuple[ChargeTransform, ChargeBalance]:
    """Fit the transform of a training set, and say what it does to the charge. One pass, in chunks.

    ``clip`` defaults to the greatest |charge|, ``unit_charge`` to the mean |charge| of the pixels above ``threshold``. The transform is
    signed if a pixel is below -``threshold``. PgenError if no |charge| is above ``threshold``.
    """
    sums = _Sums.over(images, threshold, math.inf if clip is None else clip)
    if not sums.count:
        raise PgenError(f"{images.name}: all images are blank, no pixel is above threshold={threshold:g}; lower it or give other data.")
    signed, mean = sums.negative > 0, sums.kept / sums.count
    unit = mean if unit_charge is None else unit_charge
    return ChargeTransform(sums.greatest if clip is None else clip, threshold, scale, unit, signed), sums.balance(signed)


@dataclass
class _Sums:
    """Sums of |charge| over pixels: of all of them; of the ``count`` above the threshold, and of those that are negative; and of what lies
    beyond clip, of positive and of negative ones."""

    total: float = 0.0
    kept: float = 0.0
    negative: float = 0.0
    beyond: tuple[float, float] = (0.0, 0.0)
    count: int = 0
    greatest: float = 0.0

    @classmethod
    def over(cls, images: ImageSet, threshold: float, clip: float) -> _Sums:
        sums = cls()
        for part in lit_chunks(images):
            sums.total += float(np.abs(part.value).sum(dtype=np.float64))
            charge = part.value[above_threshold(part.value, threshold)]
            magnitude = np.abs(charge)
            sums.kept += float(magnitude.sum(dtype=np.float64))
            sums.negative += float(magnitude.sum(dtype=np.float64, where=charge < 0))
            excess = np.maximum(magnitude - np.float32(clip), 0)
            positive, negative = (float(excess.sum(dtype=np.float64, where=side)) for side in (charge > 0, charge < 0))
            sums.beyond = (sums.beyond[0] + positive, sums.beyond[1] + negative)
            sums.count += charge.size
            sums.greatest = max(sums.greatest, float(magnitude.max(initial=0.0)))
        return sums

    def balance(self, signed: bool) -> ChargeBalance:
        total = self.total or 1.0
        clipped = sum(self.beyond) if signed else self.beyond[0]
        return ChargeBalance(signed, self.negative / (self.kept or 1.0), 1 - self.kept / total if self.total else 0.0, clipped / total)
