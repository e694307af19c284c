"""Samples in batches, which follow from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.images import ArrayImages
from pgen.engine.dataloading.conditions import ConditionSampler, Labels
from pgen.engine.runtime.seeding import generator

if TYPE_CHECKING:
    from pgen.engine.artifacts.decoder import ImageDecoder
    from pgen.engine.run import Run

#: How many images, and their randomness, to images in charge units, and the labels that they were made for.
Draw = Callable[[int, torch.Generator], tuple[Tensor, Labels]]


def images_of(run: Run, model: nn.Module, to_images: ImageDecoder) -> Draw:
    """What the trained model of a run draws, in charge units."""
    return with_conditions(run.condition_sampler(), lambda n, noise, condition: to_images(run.draw(model, n, noise, condition)))


def with_conditions(asked: ConditionSampler | None, draw: Callable[[int, torch.Generator, Tensor | None], Tensor]) -> Draw:
    """``draw`` that is told what is ``asked`` of each sample, if anything is."""

    def told(n: int, noise: torch.Generator) -> tuple[Tensor, Labels]:
        labels, condition = asked.draw(n, noise) if asked else ({}, None)
        return draw(n, noise, condition), labels

    return told


def drawn(
    draw: Draw, n: int, seed: int, device: torch.device, unit: str, tick: Callable[[int, int], None], batch_size: int = 256
) -> Iterator[ArrayImages]:
    """``n`` images in charge units, batch by batch, which follow from ``seed`` and the size of a batch. ``tick(done, total)`` is called
    after each."""
    for number, start in enumerate(range(0, n, batch_size)):
        size = min(batch_size, n - start)
        with torch.no_grad():
            images, labels = draw(size, generator(seed, "sample", number, device))
        yield ArrayImages(images.cpu().numpy(), name="samples", ids=np.arange(start, start + size), labels=labels, unit=unit)
        tick(start + size, n)
