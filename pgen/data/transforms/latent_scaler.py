"""Standardisation of latent codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgen.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LatentScaler:
    """Standardise latent codes: ``forward(codes) = (codes - mean) / std``.

    Attributes:
        mean: (D,) float32.
        std: (D,) float32, positive.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise DataError(
                f"A latent scaler needs mean and std of one shape (D,), got {tuple(self.mean.shape)} and {tuple(self.std.shape)}."
            )

    def forward(self, codes: Tensor) -> Tensor:
        """Map latent codes (..., D) to standardised ones."""
        return (codes - _like(self.mean, codes)) / _like(self.std, codes)

    def inverse(self, standardised: Tensor) -> Tensor:
        """Map standardised codes (..., D) back to the encoder's latent space."""
        return standardised * _like(self.std, standardised) + _like(self.mean, standardised)

    def to_dict(self) -> dict[str, Any]:
        """Return ``mean`` and ``std`` as lists, for JSON; float32 survives exactly."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LatentScaler:
        """Rebuild the scaler from the values of :meth:`to_dict`; other keys are ignored.

        Raises:
            DataError: If ``mean`` or ``std`` is missing or not a list of numbers.
        """
        import torch

        try:
            return cls(*(torch.tensor(values[key], dtype=torch.float32) for key in ("mean", "std")))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"A latent scaler needs the lists of numbers mean and std, got {', '.join(sorted(values)) or 'nothing'}."
            ) from error


def _like(moment: Tensor, codes: Tensor) -> Tensor:
    """Return ``moment`` on the device of ``codes``, without a copy for torch.export."""
    return moment if moment.device == codes.device else moment.to(codes.device)
