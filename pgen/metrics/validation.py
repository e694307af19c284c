"""Validation of images that enter a metric, and conversion of results to plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray, require_finite
from pgen.errors import DataError

#: Images (N, C, H, W) in charge units.
Images: TypeAlias = npt.NDArray | torch.Tensor


def as_images(images: Images, name: str, *, at_least: int = 1) -> FloatArray:
    """Return images as a float32 array (N, C, H, W).

    Args:
        images: (N, C, H, W), an array or a tensor on any device.
        name: What error messages call them.
        at_least: The smallest N.

    Raises:
        DataError: Another shape, too few images, or pixels that are NaN or infinite.
    """
    array = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise DataError(f"{name}: expected images as (N, C, H, W), got an array of shape {array.shape}; add the missing axes first.")
    if len(array) < at_least:
        raise DataError(f"{name}: expected at least {at_least} images, got {len(array)}; use a larger set.")
    return require_finite(array, name)


def check_same_shape(**images: FloatArray) -> None:
    """Check that all named sets have images of one shape (C, H, W).

    Raises:
        DataError: A set differs from the first.
    """
    (first, reference), *others = images.items()
    for name, other in others:
        if other.shape[1:] != reference.shape[1:]:
            raise DataError(
                f"{name}: images of shape {other.shape[1:]} cannot be compared with {first} images of shape {reference.shape[1:]}; "
                "read both with the same options."
            )


class Result:
    """Mix-in for frozen dataclasses of results."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them.

        Arrays, which are for figures, are left out; NaN becomes None.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: to_plain(value) for name, value in values.items() if not isinstance(value, np.ndarray)}


def to_plain(value: Any) -> Any:
    """Convert results, mappings, sequences and NumPy scalars to what JSON can hold.

    Numbers that are not finite become None.
    """
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
