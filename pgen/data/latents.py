"""Latent codes: vectors that an encoder made of images, with what decoding them needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pgen.errors import DataError, listed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LatentCodes:
    """N latent codes of D numbers, in the encoder's latent space.

    Attributes:
        codes: (N, D) float32.
        mean: (D,) float32, to standardise the codes; for maps, equal within a channel.
        std: (D,) float32, positive; for maps, equal within a channel.
        ids: (N,) the image each code comes from.
        source: Name and fingerprint of the images.
        encoder: Run and weights (SHA-256) of the encoder; empty if unknown.
        folder: Folder of the file they were read from; not written.
        labels: Labels of the images, name to (N,).
        spread: (N, D) float32 standard deviation of each number, if images are encoded to
            distributions.
        shape: (C, H, W) if a code is a map; empty or (D,) if it is a vector.

    Raises:
        DataError: If the parts do not fit together, or hold NaN or infinite numbers.
    """

    codes: Tensor
    mean: Tensor
    std: Tensor
    ids: list[str]
    source: Mapping[str, Any] = field(default_factory=dict)
    encoder: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    labels: Mapping[str, npt.NDArray] = field(default_factory=dict)
    spread: Tensor | None = None
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        import torch

        name = str(self.source.get("name", "codes"))
        for key, tensor in (("codes", self.codes), ("mean", self.mean), ("std", self.std)):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
                raise DataError(f"{name}: {key} is {getattr(tensor, 'dtype', type(tensor).__name__)}, expected a float32 tensor.")
        if self.codes.ndim != 2 or 0 in self.codes.shape:
            raise DataError(f"{name}: found vectors of shape {tuple(self.codes.shape)}, expected (N, D), neither of them 0.")
        n, dim = self.codes.shape
        if self.mean.shape != (dim,) or self.std.shape != (dim,) or len(self.ids) != n:
            raise DataError(
                f"{name}: {n} codes of {dim} numbers come with mean {tuple(self.mean.shape)}, std {tuple(self.std.shape)} and "
                f"{len(self.ids)} ids; expected ({dim},), ({dim},) and {n}. Encode the images again."
            )
        bad = sum(int((~torch.isfinite(tensor)).sum()) for tensor in (self.codes, self.mean, self.std))
        if bad or bool((self.std <= 0).any()):
            raise DataError(
                f"{name}: {bad} code numbers are NaN or infinite, or a std is not positive; expected finite codes. Encode again."
            )
        if self.spread is not None and not (
            isinstance(self.spread, torch.Tensor)
            and self.spread.dtype == torch.float32
            and self.spread.shape == (n, dim)
            and bool((torch.isfinite(self.spread) & (self.spread >= 0)).all())
        ):
            raise DataError(f"{name}: its spread is not {n} times {dim} finite float32 numbers, 0 or more. Encode the images again.")
        if self.shape and prod(self.shape) != dim:
            raise DataError(f"{name}: its maps of {self.shape} do not have the {dim} numbers of a code. Encode the images again.")
        if wrong := [label for label, values in self.labels.items() if np.shape(values) != (n,)]:
            raise DataError(f"{name}: the labels {listed(wrong)} are not one for each of the {n} codes. Encode the images again.")

    @classmethod
    def from_vectors(
        cls,
        codes: Tensor,
        ids: list[str],
        source: Mapping[str, Any],
        encoder: Mapping[str, Any] | None = None,
        labels: Mapping[str, npt.NDArray] | None = None,
        spread: Tensor | None = None,
        shape: tuple[int, ...] = (),
    ) -> LatentCodes:
        """Make latent codes with the mean and std of their columns, or of the channels of maps.

        A constant column gets std 1.
        """
        codes = codes.detach().cpu().float()
        places = prod(shape[1:])

        def average_channels(columns: Tensor) -> Tensor:
            """Replace each number (D,) by the mean of its channel."""
            return columns.unflatten(0, (-1, places)).mean(1).repeat_interleave(places)

        mean, ones = codes.mean(0), codes.new_ones(codes.shape[1:])
        # Made first with std 1, so that all parts are validated before moments are computed.
        latents = cls(codes, mean, ones, ids, source, encoder or {}, labels=labels or {}, spread=spread, shape=shape)
        mean = average_channels(mean)
        variance = average_channels((codes - mean).square().mean(0) + (0 if spread is None else spread.square().mean(0)))
        return replace(latents, mean=mean, std=variance.sqrt().where(variance > 0, ones))

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return f"<LatentCodes {str(self.source.get('name', 'codes'))!r}: {len(self):,} codes {self.shape or tuple(self.codes.shape[1:])}>"

    @property
    def is_map(self) -> bool:
        """Whether a code is a map (C, H, W)."""
        return len(self.shape) == 3

    @property
    def decoder(self) -> Path | None:
        """The weights file next to codes.pt that decodes codes; None if it is not there."""
        if self.folder is None or "file" not in self.encoder:
            return None
        path = self.folder / self.encoder["file"]
        return path if path.is_file() else None

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the codes and their shape."""
        digest = hashlib.sha256(repr(tuple(self.codes.shape)).encode())
        for tensor in (self.codes, self.spread):
            if tensor is not None:
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a codes.pt.

        Raises:
            DataError: If the file exists and ``overwrite`` is not set.
        """
        # By name: file formats are above this module.
        return import_module("pgen.data.formats.codes").save_codes(self, path, overwrite=overwrite)
