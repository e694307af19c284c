"""Training images on the device, stored as their nonzero pixels."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from pgen.data.sparse import SparseImages


class SparseImageCache:
    """Stores images as their nonzero pixels, which takes 1/25 of the memory at 2 % occupancy.

    Args:
        pixels: The nonzero pixels, in model space.
        shape: (C, H, W).
        device: Where they are stored.
    """

    def __init__(self, pixels: SparseImages, shape: tuple[int, ...], device: torch.device) -> None:
        self.shape = shape
        # Offsets are on the host, which then need not wait for the device.
        self.offsets = torch.from_numpy(pixels.offsets.astype(np.int64))
        self.flat_index = torch.from_numpy(pixels.flat_index.astype(np.int32)).to(device)
        self.value = torch.from_numpy(pixels.value).to(device)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Return the images at ``indices`` (B,), which are on the CPU, as (B, *shape)."""
        device, size = self.value.device, prod(self.shape)
        starts, counts = self.offsets[indices], self.offsets[indices + 1] - self.offsets[indices]
        total = int(counts.sum())
        ends = counts.cumsum(0)
        # For each pixel of the batch: its distance from the pixel of the same number among all, and
        # where its image begins.
        shift, begin = starts - (ends - counts), size * torch.arange(len(indices))
        moves = torch.stack([shift, begin]).to(device).repeat_interleave(counts.to(device), dim=1, output_size=total)
        at = torch.arange(total, device=device) + moves[0]
        batch = torch.zeros(len(indices) * size, device=device)
        batch[moves[1] + self.flat_index[at]] = self.value[at]
        return batch.view(len(indices), *self.shape)
