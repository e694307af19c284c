"""The generated sets to evaluate: files, or runs that are sampled on the fly, of one checkpoint or of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pgen.data.images import ArrayImages, ImageSet
from pgen.data.io.sources import open_images
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.inference.benchmark import GeneratorBenchmark, benchmark_generator
from pgen.engine.inference.sampler import make_sampler
from pgen.engine.run import Run
from pgen.errors import PgenError
from pgen.utils.paths import expand

ALL = "all"


@dataclass(frozen=True)
class Candidate:
    """One generated set: what it is called, where it comes from (plain values), and its images, of a run made when asked for.

    step: of the checkpoint, of a run. cost: measures what it costs, of a run. zero_suppression: the threshold at or below
    which |charge| is 0 in its images, of a run that of its transform; None where it is not known.
    """

    name: str
    about: dict[str, Any]
    images: Callable[[], ImageSet]
    run: Path | None = None
    step: int | None = None
    cost: Callable[[], GeneratorBenchmark] | None = None
    zero_suppression: float | None = None


def candidates(
    sources: Sequence[str],
    *,
    n: int,
    seed: int,
    device: torch.device,
    checkpoint: str = "best",
    decoder: str | None = None,
    data_root: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Candidate]:
    """A candidate for each of ``sources``; with checkpoint "all" for each checkpoint of a run.

    ``n`` images are drawn from a run with ``seed``: those of ``pgen sample``. UserError for what is neither images nor a run.
    """
    names: set[str] = set()
    for source in sources:
        if not (expand(source) / "config.json").is_file():
            opened = open_images(source, data_root=data_root)
            name = _free(_short(source), names)
            yield Candidate(name, {"source": source}, partial(_given, opened), zero_suppression=opened.zero_suppression)
            continue
        run = Run.open(source, device=device)
        wanted = [str(step) for step in checkpoints.steps(run.folder)] if checkpoint == ALL else [checkpoint]
        if not wanted:
            raise PgenError(f"{source}: has no checkpoint; train it first, or name one that has.")
        for which in wanted:
            name = _free(run.folder.path.name + (f" @ {which}" if checkpoint == ALL else ""), names)
            yield _of_run(name, run, which, n, seed, decoder, progress)


def _of_run(
    name: str, run: Run, checkpoint: str, n: int, seed: int, decoder: str | None, progress: Callable[[int, int], None]
) -> Candidate:
    model, step = run.load_checkpoint(checkpoint)
    image_decoder = run.image_decoder(decoder)

    def images() -> ImageSet:
        parts = list(make_sampler(run, model, image_decoder).batches(n, seed, progress=progress))
        labels = {label: np.concatenate([part.labels[label] for part in parts]) for label in parts[0].labels}
        return ArrayImages(np.concatenate([part.images for part in parts]), name=name, labels=labels, unit=image_decoder.unit)

    config = run.folder.read_config()
    about = {
        "source": str(run.folder.path),
        "step": step,
        "seed": seed,
        "model": config["model"],
        "settings": config["settings"],
        "config": config["config"],
        "trained on": config["data"]["fingerprint"],
    }
    threshold = image_decoder.threshold
    return Candidate(name, about, images, run.folder.path, step, partial(benchmark_generator, run, model, image_decoder), threshold)


def _given(images: ImageSet) -> ImageSet:
    return images


def _short(source: str) -> str:
    """The last part of a path, without its options."""
    path, colon, options = source.partition(":")
    return Path(path).stem + (colon + options if path in ("simulate", "mnist") else "")


def _free(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found in taken:
        number, found = number + 1, f"{name} ({number})"
    taken.add(found)
    return found
