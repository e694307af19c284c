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
from pgen.data.sparse import above_threshold
from pgen.data.transforms.charge_scales import Scale, get_scale
from pgen.errors import ConfigError, DataError, one_line

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ChargeBalance:
    """What a transform does to the charge of a set of images, as fractions of its total |charge|.

    Attributes:
        signed: Whether the transform is.
        negative: Negative fraction of the |charge| above the threshold. An unsigned transform loses
            it.
        suppressed: Fraction at or below the threshold.
        clipped: Fraction beyond ``clip``.
    """

    signed: bool
    negative: float
    suppressed: float
    clipped: float


@dataclass(frozen=True)
class ChargeTransform:
    """Map charge q to model space: to [0, 1], or signed charge to [-1, 1].

    With u = ``unit_charge`` and c = ``clip``, the scales are linear: q / c; sqrt: (q / c)^(1/2);
    log: ln(1 + q / u) / ln(1 + c / u); asinh: asinh(q / u) / asinh(c / u); and those of plug-ins,
    see :class:`pgen.data.transforms.charge_scales.Scale`. Signed charge is mapped by its magnitude,
    sign(q) f(abs(q)); unsigned charge below 0 becomes 0. The map is exactly invertible, up to
    rounding, where threshold < abs(q) <= clip. All charges are in the unit of the images.

    Attributes:
        clip: The |charge| that becomes 1; more is cut off.
        threshold: |charge| at or below it becomes 0, both ways (zero suppression).
        scale: Name of the curve.
        unit_charge: Charge around which log, asinh and the like turn from linear to logarithmic.
        signed: Whether negative charge is mapped to negative values.
    """

    clip: float
    threshold: float = 0.0
    scale: str = "linear"
    unit_charge: float = 1.0
    signed: bool = False

    def __post_init__(self) -> None:
        get_scale(self.scale)
        if not (math.isfinite(self.clip) and 0 <= self.threshold < self.clip):
            raise ConfigError(
                f"threshold={self.threshold:g} and clip={self.clip:g} do not fit; expected 0 <= threshold < clip. Change one."
            )
        if not (math.isfinite(self.unit_charge) and self.unit_charge > 0):
            raise ConfigError(f"unit_charge={self.unit_charge:g} does not fit; expected a positive charge.")

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
        """Fit the transform to a training set, see :func:`fit_transform`."""
        return fit_transform(images, threshold=threshold, clip=clip, scale=scale, unit_charge=unit_charge)[0]

    def balance(self, images: ImageSet) -> ChargeBalance:
        """Measure what the transform does to the charge of ``images``, in one pass."""
        return _ChargeSums.from_images(images, self.threshold, self.clip).balance(self.signed)

    def forward(self, x: Tensor) -> Tensor:
        """Map charge, of any shape, to model space."""
        import torch

        curve, unit, top = self._curve
        magnitude = x.abs() if self.signed else x
        y = curve.forward(magnitude.clamp(0.0, self.clip) / unit) / top
        y = torch.where(magnitude > self.threshold, y, torch.zeros_like(y))
        return y * x.sign() if self.signed else y

    def inverse(self, y: Tensor) -> Tensor:
        """Map model space, of any shape, to zero-suppressed charge; clamp values out of range."""
        import torch

        curve, unit, top = self._curve
        magnitude = y.abs() if self.signed else y
        q = curve.inverse(magnitude.clamp(0.0, 1.0) * top) * unit
        q = torch.where(q > self.threshold, q, torch.zeros_like(q))
        return q * y.sign() if self.signed else q

    @cached_property
    def _curve(self) -> tuple[Scale, float, float]:
        """(f, u, f(clip / u))."""
        curve = get_scale(self.scale)
        unit = self.unit_charge if curve.needs_unit_charge else self.clip
        return curve, unit, curve.top(self.clip / unit)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChargeTransform:
        """Rebuild the transform from the values of :meth:`to_dict`.

        Raises:
            DataError: If keys or types are others.
        """
        keys = {f.name for f in fields(cls)}
        if {*values, "signed"} != keys:  # transforms of earlier versions have no "signed": they are unsigned
            raise DataError(f"A transform has the keys {', '.join(sorted(keys))}; got {', '.join(sorted(values)) or 'none'}.")
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise DataError(f"A transform cannot be read: {one_line(error)}.") from error


def fit_transform(
    images: ImageSet, *, threshold: float = 0.0, clip: float | None = None, scale: str = "linear", unit_charge: float | None = None
) -> tuple[ChargeTransform, ChargeBalance]:
    """Fit the transform to a training set and measure what it does to the charge, in one pass.

    It is signed if a pixel is below -``threshold``.

    Args:
        images: The training set.
        threshold: |charge| at or below it becomes 0.
        clip: The |charge| that becomes 1; by default the greatest.
        scale: Name of the curve.
        unit_charge: By default the mean |charge| of the pixels above ``threshold``.

    Raises:
        DataError: If no |charge| is above ``threshold``.
    """
    sums = _ChargeSums.from_images(images, threshold, math.inf if clip is None else clip)
    if not sums.count:
        raise DataError(f"{images.name}: all images are blank, no pixel is above threshold={threshold:g}; lower it or give other data.")
    is_signed = sums.negative > 0
    unit = sums.above / sums.count if unit_charge is None else unit_charge
    return ChargeTransform(sums.greatest if clip is None else clip, threshold, scale, unit, is_signed), sums.balance(is_signed)


@dataclass
class _ChargeSums:
    """Sums of |charge| over the pixels of a set.

    Attributes:
        total: Of all pixels.
        above: Of the ``count`` pixels above the threshold.
        negative: Of those of them that are negative.
        beyond: What exceeds clip, of positive and of negative pixels.
        count: Number of pixels above the threshold.
        greatest: Greatest |charge|.
    """

    total: float = 0.0
    above: float = 0.0
    negative: float = 0.0
    beyond: tuple[float, float] = (0.0, 0.0)
    count: int = 0
    greatest: float = 0.0

    @classmethod
    def from_images(cls, images: ImageSet, threshold: float, clip: float) -> _ChargeSums:
        sums = cls()
        for pixels in images.sparse_chunks():
            sums.total += float(np.abs(pixels.value).sum(dtype=np.float64))
            charge = pixels.value[above_threshold(pixels.value, threshold)]
            magnitude = np.abs(charge)
            sums.above += float(magnitude.sum(dtype=np.float64))
            sums.negative += float(magnitude.sum(dtype=np.float64, where=charge < 0))
            excess = np.maximum(magnitude - np.float32(clip), 0)
            positive, negative = (float(excess.sum(dtype=np.float64, where=sign)) for sign in (charge > 0, charge < 0))
            sums.beyond = (sums.beyond[0] + positive, sums.beyond[1] + negative)
            sums.count += charge.size
            sums.greatest = max(sums.greatest, float(magnitude.max(initial=0.0)))
        return sums

    def balance(self, signed: bool) -> ChargeBalance:
        total = self.total or 1.0
        clipped = sum(self.beyond) if signed else self.beyond[0]
        return ChargeBalance(signed, self.negative / (self.above or 1.0), 1 - self.above / total if self.total else 0.0, clipped / total)
