"""The generated sets to evaluate: images, or runs that are sampled, at one checkpoint or at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pgen.data.images import ArrayImages, ImageSet
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.decoder import ImageDecoder
from pgen.engine.evaluation.image_sources import GeneratedSource, describe_source, is_array, open_source
from pgen.engine.inference.benchmark import GeneratorBenchmark, benchmark_generator
from pgen.engine.inference.sampler import make_sampler
from pgen.engine.run import Run
from pgen.errors import RunError
from pgen.utils.paths import expand

#: The checkpoint option that means every checkpoint.
ALL = "all"


@dataclass(frozen=True)
class Candidate:
    """One generated set.

    Attributes:
        name: Its name, unique in an evaluation.
        about: Where it comes from, as plain values.
        images: Returns its images; those of a run are sampled when it is called.
        run: Folder of the run, if it is one.
        step: Step of the checkpoint, for a run.
        cost: Measures parameters, speed and memory, for a run.
        zero_suppression: |charge| at or below it is 0 in its images; None if that is not known.
    """

    name: str
    about: dict[str, Any]
    images: Callable[[], ImageSet]
    run: Path | None = None
    step: int | None = None
    cost: Callable[[], GeneratorBenchmark] | None = None
    zero_suppression: float | None = None


def open_candidates(
    sources: Sequence[tuple[str | None, GeneratedSource]],
    *,
    n: int,
    seed: int,
    device: torch.device,
    unit: str = "ADC",
    checkpoint: str = "best",
    decoder: str | None = None,
    data_root: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Candidate]:
    """Open each source as a candidate, or each checkpoint of a run as one.

    Args:
        sources: Name and source; without a name it is called after the source.
        n: Number of images to sample from a run: the first ones of ``pgen sample``.
        seed: Seed of the samples.
        device: Where runs that are named by their folder are sampled.
        unit: Unit of charge of arrays.
        checkpoint: "best", "last", a step, or "all".
        decoder: Decoder for samples that are latents.
        data_root: Folder in which source strings are looked up.
        progress: Called as ``progress(done, total)`` while a run is sampled.

    Raises:
        DataError: A source has no images.
        RunError: A run has no checkpoint.
    """
    names: set[str] = set()
    for name, source in sources:
        run = _open_run(source, device)
        if run is None:
            images = open_source(source, unit=unit, data_root=data_root)  # type: ignore[arg-type]
            origin = describe_source(source, images)  # type: ignore[arg-type]
            title = _unique_name(name or ("generated" if is_array(source) else _short_name(origin)), names)
            yield Candidate(title, {"source": origin}, partial(_identity, images), zero_suppression=images.zero_suppression)
            continue
        states = [str(step) for step in checkpoints.steps(run.folder)] if checkpoint == ALL else [checkpoint]
        if not states:
            raise RunError(f"{run.folder.path}: has no checkpoint; train it first, or name one that has.")
        for state in states:
            title = (name or run.folder.path.name) + (f" @ {state}" if checkpoint == ALL else "")
            yield _open_checkpoint(_unique_name(title, names), run, state, n, seed, decoder, progress)


def _open_run(source: GeneratedSource, device: torch.device) -> Run | None:
    if isinstance(source, Run):
        return source
    if isinstance(source, str | os.PathLike) and (expand(source) / "config.json").is_file():
        return Run.open(source, device=device)  # type: ignore[arg-type]
    return None


def _open_checkpoint(
    name: str, run: Run, checkpoint: str, n: int, seed: int, decoder: str | None, progress: Callable[[int, int], None]
) -> Candidate:
    model, step = run.load_checkpoint(checkpoint)
    image_decoder = run.image_decoder(decoder)
    config = run.folder.read_config()
    return Candidate(
        name,
        about={
            "source": str(run.folder.path),
            "step": step,
            "seed": seed,
            "model": config["model"],
            "settings": config["settings"],
            "config": config["config"],
            "trained on": config["data"]["fingerprint"],
        },
        images=partial(_sample, run, model, image_decoder, n, seed, name, progress),
        run=run.folder.path,
        step=step,
        cost=partial(benchmark_generator, run, model, image_decoder),
        zero_suppression=image_decoder.threshold,
    )


def _sample(
    run: Run, model: nn.Module, decoder: ImageDecoder, n: int, seed: int, name: str, progress: Callable[[int, int], None]
) -> ArrayImages:
    """Sample ``n`` images in charge units."""
    batches = list(make_sampler(run, model, decoder).batches(n, seed, progress=progress))
    labels = {label: np.concatenate([batch.labels[label] for batch in batches]) for label in batches[0].labels}
    return ArrayImages(np.concatenate([batch.images for batch in batches]), name=name, labels=labels, unit=decoder.unit)


def _identity(images: ImageSet) -> ImageSet:
    return images


def _short_name(source: str) -> str:
    """Return the last part of a path, without its options."""
    path, colon, options = source.partition(":")
    return Path(path).stem + (colon + options if path in ("simulate", "mnist") else "")


def _unique_name(name: str, names: set[str]) -> str:
    """Add a number to a name that is in ``names`` already, and the result to ``names``."""
    number, result = 2, name
    while result in names:
        number, result = number + 1, f"{name} ({number})"
    names.add(result)
    return result
