"""Evaluation of generated images: from sources to a report."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import scipy
import torch

from pgen._version import __version__
from pgen.data.images import ArrayImages, FloatArray, ImageSet, read_all
from pgen.data.io.write import refuse_count
from pgen.data.transforms.zero_suppression import suppress
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.dataloading.dataset import require_same_kind
from pgen.engine.evaluation.candidates import Candidate, open_candidates
from pgen.engine.evaluation.image_sources import GeneratedSource, ImageSource, open_sources
from pgen.engine.evaluation.threshold import choose_threshold
from pgen.engine.runtime.device import choose_device
from pgen.errors import ConfigError, PgenError, option
from pgen.metrics.inputs import Downstream, EvaluationSets, Features, validate_images
from pgen.metrics.runner import Evaluation, comparison_warnings, select_metrics
from pgen.metrics.runner import evaluate as run_metrics
from pgen.report.evaluation_report import EvaluationReport
from pgen.report.report_figures import BROWSED, BROWSED_REAL, Gallery, draw_indices

#: Called as ``progress(task, done, total)``.
Progress = Callable[[str, int, int], None]


def evaluate(
    generated: GeneratedSource | Mapping[str, GeneratedSource] | Sequence[GeneratedSource],
    *,
    train: ImageSource,
    held_out: ImageSource,
    metrics: str | Sequence[str] | None = None,
    threshold: float | None = None,
    n: int = 10_000,
    seed: int = 0,
    device: str | torch.device = "auto",
    features: str | Features | None = None,
    downstream: str | Downstream | None = None,
    checkpoint: str = "best",
    decoder: str | None = None,
    data_root: str | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score generated images against real ones.

    Images are sets of images, arrays (N, H, W) or (N, C, H, W), or source strings. Arrays are in
    the charge unit of the first real set that has one.

    Args:
        generated: Generated images, a run or run folder to sample from, a mapping of names to
            several of these, or a list of them.
        train: Images that the model was trained on.
        held_out: Real images that it has not seen.
        metrics: Names of metrics; None for all. A metric that is not named and cannot be computed,
            such as closure without labels, is skipped.
        threshold: |charge| at or below it is set to 0 in all sets; None for the highest zero
            suppression that is known of any set.
        n: Number of images to sample from a run.
        seed: Seed of all random numbers.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.
        features: Function from images (n, C, H, W) to features (n, D), or
            "package.module:function", in place of pgen's own features.
        downstream: Function from images (n, C, H, W) to outputs (n,) by name, such as a
            reconstruction, or "package.module:function"; the metric ``downstream`` compares its
            outputs.
        checkpoint: Saved state of runs: best, last, a step, or all.
        decoder: Decoder for runs whose samples are latents, in place of the run's own.
        data_root: Folder in which source strings are looked up.
        progress: Called as ``progress(task, done, total)``.

    Raises:
        DataError: Sets cannot be read or compared.
        ConfigError: A metric is not installed, or an option has no effect.
        PgenError: A metric that was named cannot be computed.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics or ())
    select_metrics(names)
    refuse_count(n)
    place = choose_device(device) if isinstance(device, str) else device
    extractor = _load_function("features", features) if isinstance(features, str) else features
    reconstruct = _load_function("downstream", downstream) if isinstance(downstream, str) else downstream
    if reconstruct is not None and names and "downstream" not in names:
        raise ConfigError(
            f"{option('downstream')}: of no effect on {', '.join(names)}; leave it out, or evaluate downstream or all metrics."
        )
    real = open_sources({"train": train, "held-out": held_out}, data_root=data_root)
    unit = real["train"].unit
    require_same_kind(real["held-out"], real["train"], option("held_out"), "the training images have")
    # Open all of them before any work, so that what is wrong with the last is reported before the
    # first is scored.
    candidates = list(
        open_candidates(
            _name_sources(generated),
            n=n,
            seed=seed,
            device=place,
            unit=unit,
            checkpoint=checkpoint,
            decoder=decoder,
            data_root=data_root,
            progress=lambda done, total: progress("sampling", done, total) if progress else None,
        )
    )
    for candidate in candidates:
        if candidate.run is None:
            _check_fits(candidate, candidate.images(), real["train"])
    run_options = {"checkpoint": checkpoint if checkpoint != "best" else None, "decoder": decoder}
    unused = [option(key, value) for key, value in run_options.items() if value]
    if unused and all(candidate.run is None for candidate in candidates):
        raise ConfigError(
            f"{', '.join(unused)}: of no effect where no run is evaluated; leave it out, or name a run by {option('generated')}."
        )
    suppression = {f"{name} images": images.zero_suppression for name, images in real.items()}
    suppression |= {candidate.name: candidate.zero_suppression for candidate in candidates}
    choice = choose_threshold(threshold, suppression, unit)
    unsuppressed = {name: read_all(images) for name, images in real.items()}
    pixels = {
        name: suppress(validate_images(images, name, choice.value, real[name].unit), choice.value) for name, images in unsuppressed.items()
    }
    about: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "device": str(place),
        "seed": seed,
        "threshold": choice.value,
        "threshold_note": choice.note,
        "sets": {name: {"source": images.name, **_describe(images, unsuppressed[name])} for name, images in real.items()},
    }
    del unsuppressed
    cache: dict[tuple[str, ...], Any] = {}
    evaluations: list[Evaluation] = []
    galleries: list[Gallery | None] = []
    warnings = list(choice.warnings)
    losses: dict[str, Any] = {}
    for candidate in candidates:
        images = candidate.images()
        _check_fits(candidate, images, real["train"])
        generated_pixels = read_all(images)
        facts = {**candidate.about, **_describe(images, generated_pixels), "zero_suppression": candidate.zero_suppression}
        if candidate.cost is not None and not names:
            facts["cost"] = candidate.cost().to_dict()
        try:
            sets = EvaluationSets(
                generated_pixels,
                pixels["train"],
                pixels["held-out"],
                threshold=choice.value,
                unit=unit,
                labels={"generated": images.labels, "train": real["train"].labels, "held_out": real["held-out"].labels},
                seed=seed,
                device=place,
                extractor=extractor,
                downstream=reconstruct,
                cache=cache,
            )
        except PgenError as error:
            if len(candidates) == 1:
                raise
            # Blank images, as of an early checkpoint, do not spoil the evaluation of the others.
            skipped = dict.fromkeys(select_metrics(names), str(error))
            evaluations.append(Evaluation(candidate.name, facts, {}, skipped))
            galleries.append(None)
            continue
        warnings += [warning for warning in comparison_warnings(sets) if warning not in warnings]
        evaluations.append(run_metrics(sets, names, name=candidate.name, about=facts, progress=progress))
        galleries.append(Gallery.from_sets(sets, evaluations[-1], BROWSED // len(candidates)))
        if candidate.run is not None:
            losses[candidate.run.name] = RunDirectory.open(candidate.run).read_metrics()
    return EvaluationReport(
        about=about,
        warnings=warnings,
        unit=unit,
        real=pixels["held-out"][draw_indices(len(pixels["held-out"]), BROWSED_REAL, seed)],
        evaluations=evaluations,
        galleries=galleries,
        losses=losses,
        steps=[candidate.step for candidate in candidates],
    )


def _name_sources(
    generated: GeneratedSource | Mapping[str, GeneratedSource] | Sequence[GeneratedSource],
) -> list[tuple[str | None, GeneratedSource]]:
    if isinstance(generated, Mapping):
        return list(generated.items())
    return [(None, source) for source in (generated if isinstance(generated, list | tuple) else [generated])]  # type: ignore[misc]


def _check_fits(candidate: Candidate, images: ImageSet, train: ImageSet) -> None:
    require_same_kind(images, train, option("generated", candidate.about["source"]), "the training images have")


def _describe(images: ImageSet, pixels: FloatArray) -> dict[str, Any]:
    """Describe a set whose pixels have been read already, to compute its fingerprint."""
    fingerprint = ArrayImages(pixels).fingerprint
    facts = {"images": len(images), "shape": list(images.shape), "unit": images.unit, "fingerprint": fingerprint}
    return {**facts, "zero_suppression": images.zero_suppression}


def _versions() -> dict[str, str]:
    return {
        "pgen": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
    }


def _load_function(parameter: str, target: str) -> Callable[..., Any]:
    module, colon, attribute = target.partition(":")
    name = option(parameter, target)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"{name}: does not import ({type(error).__name__}: {error}); expected package.module:function, installed or in a folder that "
            "PYTHONPATH names, as PYTHONPATH=. does this one."
        ) from error
    if not colon or not callable(function):
        raise ConfigError(f"{name}: is no function; expected package.module:function.")
    return function
