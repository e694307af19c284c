"""What every metric shares: one way in for images, one way out for results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray, require_finite
from pgen.errors import PgenError

Images: TypeAlias = npt.NDArray | torch.Tensor  #: (N, C, H, W) in charge units


def as_images(images: Images, name: str, *, at_least: int = 1) -> FloatArray:
    """``images`` as a float32 array (N, C, H, W); UserError on another shape, too few of them, or NaN or infinite pixels."""
    array = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if array.ndim != 4 or 0 in array.shape[1:]:
        raise PgenError(f"{name}: found an array of shape {array.shape}, wanted images as (N, C, H, W); add the missing axes first.")
    if len(array) < at_least:
        raise PgenError(f"{name}: found {len(array)} images, wanted at least {at_least}; give a larger set.")
    return require_finite(array, name)


def same_shape(**images: FloatArray) -> None:
    """UserError unless all sets hold images of one shape (C, H, W)."""
    (first, reference), *others = images.items()
    for name, other in others:
        if other.shape[1:] != reference.shape[1:]:
            raise PgenError(
                f"{name}: images of shape {other.shape[1:]} cannot be compared with {first} images of shape {reference.shape[1:]}; "
                "read both with the same options."
            )


class Result:
    """Mix-in for the frozen dataclasses that metrics return."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them: arrays, which are there for plots, are left out, and NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: plain(value) for name, value in values.items() if not isinstance(value, np.ndarray)}


def plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
