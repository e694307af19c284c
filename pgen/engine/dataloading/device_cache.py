"""Training images that stay in the device's memory as their nonzero pixels."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from pgen.data.sparse import SparseImages


class SparseImageCache:
    """Nonzero pixels of images on a device, made dense batch by batch.

    At an occupancy of 2 % this takes 1/25 of the memory of dense images.
    """

    def __init__(self, images: SparseImages, shape: tuple[int, ...], device: torch.device) -> None:
        """Copy images to a device.

        Args:
            images: The nonzero pixels, in model space.
            shape: Shape (C, H, W) of an image.
            device: Where they are stored.
        """
        self.shape = shape
        # Offsets stay on the host, which then need not wait for the device to size a batch.
        self.offsets = torch.from_numpy(images.offsets.astype(np.int64))
        self.flat_index = torch.from_numpy(images.flat_index.astype(np.int32)).to(device)
        self.value = torch.from_numpy(images.value).to(device)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Return the dense images (N, C, H, W) at ``indices`` (N,), which are on the CPU."""
        device, size = self.value.device, prod(self.shape)
        starts, counts = self.offsets[indices], self.offsets[indices + 1] - self.offsets[indices]
        total = int(counts.sum())
        ends = counts.cumsum(0)
        # Per pixel of the batch: from its number to its place in the cache, and to its image.
        shift, image_start = starts - (ends - counts), size * torch.arange(len(indices))
        per_pixel = torch.stack([shift, image_start]).to(device).repeat_interleave(counts.to(device), dim=1, output_size=total)
        source = torch.arange(total, device=device) + per_pixel[0]
        batch = torch.zeros(len(indices) * size, device=device)
        batch[per_pixel[1] + self.flat_index[source]] = self.value[source]
        return batch.view(len(indices), *self.shape)
