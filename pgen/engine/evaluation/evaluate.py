"""From sources to a report: the sets are opened, generated ones made, and every metric asked."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import scipy
import torch

from pgen._version import __version__
from pgen.data.images import ArrayImages, FloatArray, ImageSet, read_all
from pgen.data.io.sources import open_images
from pgen.data.transforms.zero_suppression import suppress
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.dataloading.dataset import require_same_kind
from pgen.engine.evaluation.candidates import Candidate, candidates
from pgen.engine.evaluation.threshold import choose_threshold
from pgen.errors import PgenError
from pgen.metrics.inputs import EvaluationSets, Features, validate_images
from pgen.metrics.runner import Evaluation, comparison_warnings, evaluate, select_metrics
from pgen.report.html_report import SHOWN, Gallery, Report


@dataclass(frozen=True)
class EvaluateRequest:
    """What `pgen evaluate` asks.

    metrics: names, all of them without any; what one of them refuses ends the whole only where they are named. generated, train,
    held_out: sources, generated also run folders, of which ``n`` images are drawn. threshold: |charge| at or below it is
    set to 0 in all sets; None: the highest zero suppression that is known of any set. checkpoint: best, last, a step, or all.
    features: ``"package.module:function"`` in place of pgen's own features.
    """

    metrics: tuple[str, ...]
    generated: tuple[str, ...]
    train: str
    held_out: str
    threshold: float | None = None
    n: int = 10_000
    checkpoint: str = "best"
    decoder: str | None = None
    features: str | None = None
    seed: int = 0
    data_root: str | None = None


#: Called with what is being done, and how much of it: done, in all.
Progress = Callable[[str, int, int], None]


def run_evaluation(request: EvaluateRequest, device: torch.device, progress: Progress) -> Report:
    """UserError where sets do not fit together, or a metric that was named cannot be asked."""
    metrics = select_metrics(request.metrics)
    extractor = _extractor(request.features)
    real = {
        name: open_images(source, data_root=request.data_root)
        for name, source in (("train", request.train), ("held-out", request.held_out))
    }
    require_same_kind(real["held-out"], real["train"], "--held-out", "the training images have")
    # All of them before any work: what is wrong with the last is told before the first has been judged.
    every = list(
        candidates(
            request.generated,
            n=request.n,
            seed=request.seed,
            device=device,
            checkpoint=request.checkpoint,
            decoder=request.decoder,
            data_root=request.data_root,
            progress=lambda done, total: progress("sampling", done, total),
        )
    )
    for candidate in every:
        if candidate.run is None:
            require_same_kind(candidate.images(), real["train"], f"--generated {candidate.about['source']}", "the training images have")
    of_runs = {"--checkpoint": request.checkpoint if request.checkpoint != "best" else None, "--decoder": request.decoder}
    if all(candidate.run is None for candidate in every) and (idle := [f"{key} {value}" for key, value in of_runs.items() if value]):
        raise PgenError(f"{', '.join(idle)}: of no effect where no run is evaluated; leave it out, or name a run by --generated.")
    suppression = {f"{name} images": images.zero_suppression for name, images in real.items()}
    suppression |= {candidate.name: candidate.zero_suppression for candidate in every}
    threshold = choose_threshold(request.threshold, suppression, real["train"].unit)
    raw = {name: read_all(images) for name, images in real.items()}
    pixels = {
        name: suppress(validate_images(images, name, threshold.value, real[name].unit), threshold.value) for name, images in raw.items()
    }
    about: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "pgen": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        },
        "device": str(device),
        "seed": request.seed,
        "threshold": threshold.value,
        "threshold_note": threshold.note,
        "sets": {name: {"source": images.name, **_facts(images, raw[name])} for name, images in real.items()},
    }
    del raw
    several = len(every) > 1
    known: dict[tuple[str, ...], Any] = {}
    evaluations: list[Evaluation] = []
    galleries: list[Gallery | None] = []
    warnings = list(threshold.warnings)
    losses: dict[str, Any] = {}
    steps: list[int | None] = []
    for candidate in every:
        images = candidate.images()
        require_same_kind(images, real["train"], f"--generated {candidate.about['source']}", "the training images have")
        generated = read_all(images)
        facts = {**candidate.about, **_facts(images, generated), "zero_suppression": candidate.zero_suppression}
        if candidate.cost is not None and not request.metrics:
            facts["cost"] = candidate.cost().to_dict()
        steps.append(candidate.step)
        try:
            labels = {"generated": images.labels, "train": real["train"].labels, "held_out": real["held-out"].labels}
            sets = EvaluationSets(
                generated,
                pixels["train"],
                pixels["held-out"],
                threshold=threshold.value,
                unit=real["train"].unit,
                labels=labels,
                seed=request.seed,
                device=device,
                extractor=extractor,
                known=known,
            )
        except PgenError as error:
            if not several:
                raise
            # Blank images, as of an early checkpoint, say nothing of the others.
            evaluations.append(Evaluation(candidate.name, facts, {}, dict.fromkeys(metrics, str(error))))
            galleries.append(None)
            continue
        warnings += [warning for warning in comparison_warnings(sets) if warning not in warnings]
        evaluations.append(evaluate(candidate.name, facts, sets, metrics, strict=bool(request.metrics), progress=progress))
        galleries.append(Gallery.of(sets, evaluations[-1]))
        losses.update(_losses(candidate))
    return Report(about, warnings, real["train"].unit, pixels["held-out"][:SHOWN], evaluations, galleries, losses, steps)


def _facts(images: ImageSet, pixels: FloatArray) -> dict[str, Any]:
    """pixels: those of ``images``, so that they are not read again for their fingerprint."""
    fingerprint = ArrayImages(pixels).fingerprint
    facts = {"images": len(images), "shape": list(images.shape), "unit": images.unit, "fingerprint": fingerprint}
    return {**facts, "zero_suppression": images.zero_suppression}


def _losses(candidate: Candidate) -> dict[str, Any]:
    return {} if candidate.run is None else {candidate.run.name: RunDirectory.open(candidate.run).read_metrics()}


def _extractor(target: str | None) -> Features | None:
    if target is None:
        return None
    module, colon, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise PgenError(
            f"--features {target}: does not import ({type(error).__name__}: {error}); wanted package.module:function, installed or in a "
            "folder that PYTHONPATH names, as PYTHONPATH=. does this one."
        ) from error
    if not colon or not callable(found):
        raise PgenError(f"--features {target}: is no function; wanted package.module:function.")
    return found
