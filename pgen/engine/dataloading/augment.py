"""Random crops and flips of a batch, computed on its device; they follow from (seed, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import BatchShard
from pgen.engine.runtime.seeding import generator

#: Axes of (N, C, H, W) that each value of ``flip`` mirrors.
FLIPS = {"none": (), "rows": (2,), "columns": (3,), "both": (2, 3)}


def augment(batch: Tensor, settings: TrainConfig, step: int, shard: BatchShard) -> Tensor:
    """Crop and flip images at random, as the options ``crop`` and ``flip`` say.

    Args:
        batch: Images (N, C, H, W) of one shard.
        settings: Options of training.
        step: Number of the step.
        shard: Which images of the step's batch these are. All shards together are augmented as the
            whole batch would be.

    Returns:
        Images (N, C, *crop).
    """
    if settings.window is not None:
        batch = _crop(batch, settings.window, shard, generator(settings.seed, "crop", step))
    for axis in FLIPS[settings.flip]:
        is_flipped = shard.take(torch.rand(shard.total, generator=generator(settings.seed, f"flip {axis}", step))) < 0.5
        batch = torch.where(is_flipped.to(batch.device)[:, None, None, None], batch.flip(axis), batch)
    return batch


def _crop(batch: Tensor, size: tuple[int, int], shard: BatchShard, random: torch.Generator) -> Tensor:
    margins = [extent - length for extent, length in zip(batch.shape[2:], size, strict=True)]
    corners = [shard.take(torch.randint(margin + 1, (shard.total, 1), generator=random)) for margin in margins]
    rows, columns = ((corner + torch.arange(length)).to(batch.device) for corner, length in zip(corners, size, strict=True))
    image, channel = torch.arange(len(batch), device=batch.device), torch.arange(batch.shape[1], device=batch.device)
    return batch[image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
