"""Training data that live on the device as a whole, by their lit pixels."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from pgen.data.sparse import SparseImages


class SparseImageCache:
    """Images kept as their lit pixels and made dense a batch at a time: at 2 % occupancy in a 25th of the memory.

    lit: the pixels, in model space. shape: (C, H, W). device: where they live.
    """

    def __init__(self, lit: SparseImages, shape: tuple[int, ...], device: torch.device) -> None:
        self.shape = shape
        # Where a batch's pixels lie is found on the host, which need not wait for the device then.
        self.offsets = torch.from_numpy(lit.offsets.astype(np.int64))
        self.flat_index = torch.from_numpy(lit.flat_index.astype(np.int32)).to(device)
        self.value = torch.from_numpy(lit.value).to(device)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """(B, *shape), of ``indices`` (B,) on the CPU."""
        device, size = self.value.device, prod(self.shape)
        starts, counts = self.offsets[indices], self.offsets[indices + 1] - self.offsets[indices]
        lit = int(counts.sum())
        ends = counts.cumsum(0)
        # Of each of the batch's pixels: how far it lies from the pixel of the same number among all, and where its image begins.
        shift, begin = starts - (ends - counts), size * torch.arange(len(indices))
        moves = torch.stack([shift, begin]).to(device).repeat_interleave(counts.to(device), dim=1, output_size=lit)
        at = torch.arange(lit, device=device) + moves[0]
        batch = torch.zeros(len(indices) * size, device=device)
        batch[moves[1] + self.flat_index[at]] = self.value[at]
        return batch.view(len(indices), *self.shape)
