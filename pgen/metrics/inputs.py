"""EvaluationSets: the generated, training and held-out images that a metric compares."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold
from pgen.data.transforms.zero_suppression import suppress
from pgen.errors import ConfigError, DataError, option
from pgen.metrics.features.observables import (
    QUANTITIES,
    SIGNED_QUANTITIES,
    feature_scale_floors,
    quantities,
    quantities_to_features,
    scales,
)
from pgen.metrics.results import PerSet
from pgen.metrics.significance import PERMUTATIONS
from pgen.metrics.validation import as_images, check_same_shape

#: Fewest images of a set: a bootstrap of fewer says nothing.
MINIMUM = 20
#: Images whose values are computed at a time.
CHUNK = 1024
#: Largest standardised feature.
FEATURE_LIMIT = 5.0

Value = TypeVar("Value")
#: From images (n, C, H, W) to features (n, D).
Features = Callable[[FloatArray], npt.NDArray]
#: From images (n, C, H, W) to outputs (n,) by name, or (n, K) of a function with ``names``.
Downstream = Callable[[FloatArray], Mapping[str, npt.ArrayLike] | npt.NDArray]


@dataclass(frozen=True)
class EvaluationSets:
    """Three sets of images (N, C, H, W) in charge units; N may differ.

    All are zero-suppressed at ``threshold``, so that faint charge, which generated images cannot
    have, does not distinguish them from real ones.

    Attributes:
        generated: Images to score.
        train: Images that the model was trained on.
        held_out: Real images that the model has not seen.
        threshold: |charge| at or below it is set to 0.
        unit: Unit of charge.
        labels: Set name (as here) -> label name -> (N,) or (N, k).
        seed: Seed of everything random in a metric, see :meth:`rng`.
        device: Device for computations that are faster on a GPU.
        extractor: Function from images (n, C, H, W) to features (n, D), in place of pgen's own.
        downstream: Function of images whose outputs the metric ``downstream`` compares, see
            :func:`pgen.metrics.fidelity.downstream.downstream`.
        permutations: Most permutations of a test; 0 computes values only.
        cache: Results that depend on real images only, shared by evaluations of several generated
            sets, see :meth:`cached`.

    Raises:
        DataError: A set has fewer than 20 images, pixels that are NaN or infinite, or only blank
            images; or shapes differ.
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
    downstream: Downstream | None = None
    permutations: int = PERMUTATIONS
    cache: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sets = {name: validate_images(getattr(self, name), name.replace("_", "-"), self.threshold, self.unit) for name in PerSet._fields}
        check_same_shape(**sets)
        for name, images in sets.items():
            object.__setattr__(self, name, suppress(images, self.threshold))

    def rng(self, name: str) -> np.random.Generator:
        """Return the random numbers of the metric ``name``: the same, whichever others run."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def cached(self, name: str, compute: Callable[..., npt.NDArray], *arrays: npt.NDArray) -> npt.NDArray:
        """Return ``compute(*arrays)``, computed once for all generated sets.

        Args:
            name: Key of the result, together with the content of the arrays.
            compute: Function of real images only.
            *arrays: Its arguments.
        """
        key = (name, *(f"{array.shape} {hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()}" for array in arrays))
        if key not in self.cache:
            self.cache[key] = compute(*arrays)
        return self.cache[key]

    def rows(self, function: Callable[[FloatArray], npt.NDArray]) -> PerSet:
        """Apply a function, from images (n, C, H, W) to rows (n, ...), to all images, in chunks."""
        return PerSet(*map(np.concatenate, self.chunked(function)))

    def chunked(self, function: Callable[[FloatArray], Value]) -> list[list[Value]]:
        """Apply a function to all images in chunks; return a list of values for each set."""
        return [[function(chunk) for chunk in _chunks(getattr(self, name))] for name in PerSet._fields]

    @cached_property
    def signed(self) -> bool:
        """Whether real images have negative charge beyond the threshold."""
        return any((chunk < -self.threshold).any() for images in (self.train, self.held_out) for chunk in _chunks(images))

    @property
    def quantity_units(self) -> Mapping[str, str]:
        """Physical quantity -> unit, in the order of :attr:`quantities`."""
        return SIGNED_QUANTITIES if self.signed else QUANTITIES

    @cached_property
    def quantities(self) -> PerSet:
        """(N, C, Q) physical quantities of images, :mod:`pgen.metrics.features.observables`."""
        return self.rows(lambda images: quantities(images, self.threshold, signed=self.signed))

    @cached_property
    def features(self) -> PerSet:
        """(N, D) standardised features of each image.

        They are in standard deviations from the mean of the training images. By default they are
        the physical quantities, whose scales have a lower limit. A feature that is not defined, as
        of a blank image, is 0. One beyond five standard deviations counts as five, so that a few
        extreme images do not decide: intervals of FPD are three times as wide without it.
        """
        if self.extractor is None:
            features = PerSet(*map(quantities_to_features, self.quantities))
            scale = scales(features.train, feature_scale_floors(self.quantity_units, self.train.shape[1]))
        else:
            features = self.rows(lambda images: _extract(self.extractor, images))
            scale = scales(features.train)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature that no image has, as of a blank plane
            mean = np.nanmean(features.train, 0)
        return PerSet(*(np.nan_to_num((values - mean) / scale).clip(-FEATURE_LIMIT, FEATURE_LIMIT) for values in features))


def validate_images(images: FloatArray, name: str, threshold: float, unit: str) -> FloatArray:
    """Return images (N, C, H, W) as float32.

    Raises:
        DataError: They are too few, not finite, or all blank.
    """
    images = as_images(images, name, at_least=MINIMUM)
    if not any(above_threshold(chunk, threshold).any() for chunk in _chunks(images)):
        raise DataError(
            f"{name}: all {len(images)} images are blank, no pixel is above {threshold:g} {unit}; lower {option('threshold')} or use "
            "other images."
        )
    return images


def _chunks(images: FloatArray) -> list[FloatArray]:
    return [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]


def _extract(extractor: Features | None, images: FloatArray) -> npt.NDArray:
    assert extractor is not None
    try:
        features = np.asarray(extractor(images), dtype=np.float64)
    except Exception as error:
        raise ConfigError(
            f"{option('features')}: the function failed on {len(images)} images ({type(error).__name__}: {error}); correct it."
        ) from error
    if features.ndim != 2 or len(features) != len(images) or not features.size or not np.isfinite(features).all():
        raise ConfigError(
            f"{option('features')}: expected finite values of shape ({len(images)}, D) for {len(images)} images, got {features.shape}; "
            "correct the function."
        )
    return features
