"""Random variations of a batch, made on its device. They follow from (seed, step) alone."""

from __future__ import annotations

import torch
from torch import Tensor

from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import BatchShard
from pgen.engine.runtime.seeding import generator

#: The axes of (B, C, H, W) that --flip mirrors.
FLIPS = {"none": (), "rows": (2,), "columns": (3,), "both": (2, 3)}


def augmented(batch: Tensor, settings: TrainConfig, step: int, part: BatchShard) -> Tensor:
    """Of each image of (B, C, H, W), a part of a step's batch, a window as --crop says, mirrored or not along the axes of --flip."""
    if settings.window is not None:
        batch = _windows(batch, settings.window, part, generator(settings.seed, "crop", step))
    for axis in FLIPS[settings.flip]:
        turned = part.take(torch.rand(part.total, generator=generator(settings.seed, f"flip {axis}", step))) < 0.5
        batch = torch.where(turned.to(batch.device)[:, None, None, None], batch.flip(axis), batch)
    return batch


def _windows(batch: Tensor, size: tuple[int, int], part: BatchShard, random: torch.Generator) -> Tensor:
    """(B, C, *size): of each image a window that lies within, all equally likely."""
    free = [extent - length for extent, length in zip(batch.shape[2:], size, strict=True)]
    corners = [part.take(torch.randint(steps + 1, (part.total, 1), generator=random)) for steps in free]
    rows, columns = ((corner + torch.arange(length)).to(batch.device) for corner, length in zip(corners, size, strict=True))
    image, channel = torch.arange(len(batch), device=batch.device), torch.arange(batch.shape[1], device=batch.device)
    return batch[image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
