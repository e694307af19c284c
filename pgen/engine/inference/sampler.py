"""Sampling: from noise, by a model and its decoder, to images in charge units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.images import ZERO_SUPPRESSION, ArrayImages
from pgen.engine.artifacts.decoder import ImageDecoder
from pgen.engine.artifacts.exported_program import load_program, read_conditions
from pgen.engine.dataloading.conditions import Labels, load_labels
from pgen.engine.inference.condition_sampler import ConditionSampler
from pgen.engine.output_checks import check_samples
from pgen.engine.run import Run
from pgen.engine.runtime.seeding import generator
from pgen.errors import ConfigError, RunError, option

#: Images of n samples (n, C, H, W) in charge units, from a random generator and their encoded conditions (n, K).
Generate = Callable[[int, torch.Generator, Tensor | None], Tensor]


@dataclass(frozen=True)
class Sampler:
    """Draws images in charge units, which follow from a seed and the batch size.

    Attributes:
        generate: Makes images of noise.
        conditions: Draws the labels of samples; None for a model without conditions.
        device: Where it computes.
        unit: Unit of charge.
        threshold: Zero suppression of the images, in ``unit``; None if it is not known.
    """

    generate: Generate
    conditions: ConditionSampler | None
    device: torch.device
    unit: str
    threshold: float | None

    @torch.no_grad()
    def draw(self, n: int, noise: torch.Generator) -> tuple[Tensor, Labels]:
        """Draw n images (n, C, H, W) in charge units, and the labels they were made for."""
        labels, condition = self.conditions.draw(n, noise) if self.conditions else ({}, None)
        return self.generate(n, noise, condition), labels

    def batches(
        self, n: int, seed: int, batch_size: int = 256, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[ArrayImages]:
        """Draw n images batch by batch.

        Args:
            n: Number of images.
            seed: Seed of the random numbers.
            batch_size: Images computed at once; other sizes give other images.
            progress: Called with the images done and n after each batch.
        """
        for number, start in enumerate(range(0, n, batch_size)):
            size = min(batch_size, n - start)
            images, labels = self.draw(size, generator(seed, "sample", number, self.device))
            batch = ArrayImages(images.cpu().numpy(), name="samples", ids=np.arange(start, start + size), labels=labels, unit=self.unit)
            batch.zero_suppression = self.threshold
            yield batch
            progress(start + size, n)


def make_sampler(run: Run, model: nn.Module, decoder: ImageDecoder, conditions: Mapping[str, Any] | None = None) -> Sampler:
    """Make the sampler of a trained model.

    Args:
        run: The run of the model.
        model: The model, in evaluation mode.
        decoder: Turns its samples into images.
        conditions: Condition name to value; others are drawn from the training labels.
    """
    condition_sampler = None
    if run.info.conditions:
        rows = load_labels(run.folder.labels, run.info.conditions)
        condition_sampler = ConditionSampler.from_training_labels(run.info.conditions, rows, conditions or {})

    def generate(n: int, noise: torch.Generator, condition: Tensor | None) -> Tensor:
        return decoder(generate_samples(run, model, n, noise, condition))

    return Sampler(generate, condition_sampler, run.device, decoder.unit, decoder.threshold)


def load_program_sampler(path: Path, device: torch.device, conditions: Mapping[str, Any]) -> Sampler:
    """Make the sampler of an exported generator.pt2.

    Raises:
        ConfigError: A condition is missing or unknown.
    """
    program, facts = load_program(path, device)
    known = read_conditions(facts)
    if unknown := [option(name) for name in conditions if name not in [condition.name for condition in known]]:
        raise ConfigError(f"{', '.join(unknown)}: no such option of {path}; `pgen deploy` has fixed all options but the conditions.")

    def generate(n: int, noise: torch.Generator, condition: Tensor | None) -> Tensor:
        return program(torch.randn(n, *facts["noise"], generator=noise, device=device), *(() if condition is None else (condition,)))

    condition_sampler = ConditionSampler.from_values(known, conditions) if known else None
    return Sampler(generate, condition_sampler, device, facts["unit"], facts.get(ZERO_SUPPRESSION))


@torch.no_grad()
def generate_samples(run: Run, model: nn.Module, n: int, noise: torch.Generator, condition: Tensor | None = None) -> Tensor:
    """Generate n samples in model space, for conditions (n, K) where the model has them.

    Raises:
        RunError: The model cannot generate.
    """
    if not callable(getattr(model, "sample", None)):
        name = run.plugin.spec.name
        raise RunError(f"{run.folder.path} holds {name!r}, which generates nothing; deploy it, then `pgen train ewm --targets codes.pt`.")
    arguments = {} if condition is None else {"condition": condition}
    samples = model.sample(n, generator=noise, **arguments)  # type: ignore[operator]
    check_samples(run.plugin, samples, n, run.info.shape)
    return samples
