"""What a metric is given: generated, training and held-out images, and how to look at them."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold
from pgen.data.transforms.zero_suppression import suppress
from pgen.errors import PgenError
from pgen.metrics.features.observables import QUANTITIES, SIGNED_QUANTITIES, features_of, least_feature_scales, quantities, scales
from pgen.metrics.results import PerSet
from pgen.metrics.validation import as_images, same_shape

#: Images that a set needs: a bootstrap of fewer says nothing.
MINIMUM = 20
#: Images whose values are computed at a time.
CHUNK = 1024

Features = Callable[[FloatArray], npt.NDArray]


@dataclass(frozen=True)
class EvaluationSets:
    """Three sets of images (N, C, H, W) in charge units, N may differ.

    All are held as zero suppression at ``threshold`` leaves them: faint charge that generated images cannot have must not tell them from
    real ones.

    Attributes:
        threshold: a pixel is lit if its |charge| is above; at or below it images hold 0.
        unit: of the charge.
        labels: of each set, by its name here, labels by name, (N,) or (N, k).
        seed: of everything random in a metric, see :meth:`rng`.
        device: where what pays on a GPU is computed.
        extractor: from images (n, C, H, W) to features (n, D), in place of pgen's own.
        known: what has been found of real images alone, for the next generated set beside the same ones, see :meth:`once`.

    Raises:
        UserError: fewer than 20 images of a set, images of different shapes, pixels that are NaN or infinite, or all of them blank.
    """

    generated: FloatArray
    train: FloatArray
    held_out: FloatArray
    threshold: float = 0.0
    unit: str = "ADC"
    labels: Mapping[str, Mapping[str, npt.NDArray]] = field(default_factory=dict)
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    extractor: Features | None = None
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sets = {name: validate_images(getattr(self, name), name.replace("_", "-"), self.threshold, self.unit) for name in PerSet._fields}
        same_shape(**sets)
        for name, images in sets.items():
            object.__setattr__(self, name, suppress(images, self.threshold))

    def rng(self, name: str) -> np.random.Generator:
        """The randomness of the metric of that name: the same whichever others run beside it."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def once(self, name: str, compute: Callable[..., npt.NDArray], *arrays: npt.NDArray) -> npt.NDArray:
        """``compute(*arrays)``, of real images alone: found once, however many generated sets are judged beside the same arrays."""
        key = (name, *(f"{each.shape} {hashlib.sha256(np.ascontiguousarray(each).data).hexdigest()}" for each in arrays))
        if key not in self.known:
            self.known[key] = compute(*arrays)
        return self.known[key]

    def rows(self, function: Callable[[FloatArray], npt.NDArray]) -> PerSet:
        """``function`` of images (n, C, H, W), which gives (n, ...), applied to all of them, in chunks."""
        return PerSet(*(np.concatenate([function(part) for part in _chunks(getattr(self, name))]) for name in PerSet._fields))

    @cached_property
    def signed(self) -> bool:
        """Whether real images hold negative charge beyond the threshold."""
        return any((part < -self.threshold).any() for images in (self.train, self.held_out) for part in _chunks(images))

    @property
    def quantity_units(self) -> Mapping[str, str]:
        """Unit of each physical quantity by its name, in the order of :attr:`quantities`."""
        return SIGNED_QUANTITIES if self.signed else QUANTITIES

    @cached_property
    def quantities(self) -> PerSet:
        """(N, C, Q) physical quantities of each image, see :mod:`pgen.metrics.features.observables`."""
        return self.rows(lambda images: quantities(images, self.threshold, signed=self.signed))

    @cached_property
    def features(self) -> PerSet:
        """(N, D) features of each image, in standard deviations of the training images' from their mean: by default the physical
        quantities of :mod:`pgen.metrics.features.observables`, whose scales have a floor; 0 where one is not defined, as of a blank image."""
        if self.extractor is None:
            found = PerSet(*map(features_of, self.quantities))
            scale = scales(found.train, least_feature_scales(self.quantity_units, self.train.shape[1]))
        else:
            found = self.rows(lambda images: _checked(self.extractor, images))
            scale = scales(found.train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that no image has, as of a blank plane
            mean = np.nanmean(found.train, 0)
        return PerSet(*(np.nan_to_num((values - mean) / scale) for values in found))


def validate_images(images: FloatArray, name: str, threshold: float, unit: str) -> FloatArray:
    """``images`` (N, C, H, W); UserError where they are too few, not finite, or all blank."""
    images = as_images(images, name, at_least=MINIMUM)
    if not any(above_threshold(part, threshold).any() for part in _chunks(images)):
        raise PgenError(
            f"{name}: all {len(images)} images are blank, no pixel is above {threshold:g} {unit}; lower --threshold or give other images."
        )
    return images


def _chunks(images: FloatArray) -> list[FloatArray]:
    return [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]


def _checked(extractor: Features | None, images: FloatArray) -> npt.NDArray:
    assert extractor is not None
    try:
        found = np.asarray(extractor(images), dtype=np.float64)
    except Exception as error:
        raise PgenError(f"--features: the function failed on {len(images)} images ({type(error).__name__}: {error}); mend it.") from error
    if found.ndim != 2 or len(found) != len(images) or not found.size or not np.isfinite(found).all():
        raise PgenError(
            f"--features: found {found.shape} values for {len(images)} images, wanted finite ones, ({len(images)}, D); mend the function."
        )
    return found
