"""The interface that the transforms between data and model space share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor


class Transform(Protocol):
    """An invertible map between data (charge, latent codes) and the space of a model."""

    def forward(self, x: Tensor, /) -> Tensor:
        """Map data to model space, element by element."""
        ...

    def inverse(self, y: Tensor, /) -> Tensor:
        """Map model space back to data."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        ...

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], /) -> Self:
        """Rebuild the transform from the values of :meth:`to_dict`."""
        ...
