"""Choosing the best checkpoint by a metric: losses stop falling long before images stop becoming better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from pgen.data.images import ImageSet, read_all, subset
from pgen.data.io.sources import open_images
from pgen.data.sparse import negative_fraction
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import check_held_out, keep_in_memory, percent
from pgen.engine.inference.sampler import drawn, images_of
from pgen.errors import PgenError
from pgen.metrics.inputs import MINIMUM, EvaluationSets
from pgen.metrics.runner import evaluate, select_metrics
from pgen.plugins.specs import DataInfo

if TYPE_CHECKING:
    from pgen.engine.run import Run

#: Images that are drawn and compared at each checkpoint: enough to rank them, and soon done.
N = 1000


def check_best_by(settings: TrainConfig, metric: str, model: type, info: DataInfo, images: DataInfo | None, ranks: int = 1) -> ImageSet:
    """The held-out images by which ``--best-by metric`` judges.

    Args:
        model: the class of the model.
        info: what it learns from.
        images: what its samples are once they are images; None where nothing can make images of them.
        ranks: how many processes share this machine's memory.

    Raises:
        UserError: the metric cannot be computed for such a model, or not with these held-out images.
    """
    option = f"--best-by {metric}"
    select_metrics([metric])
    if not callable(getattr(model, "sample", None)):
        raise PgenError(f"{option}: this model generates nothing that could be compared; leave it out.")
    if settings.held_out is None:
        raise PgenError(f"{option} compares samples with held-out images; name them with --held-out.")
    if images is None:
        raise PgenError(f"{option}: {info.name} came without a decoder, which makes images of samples; give a codes.pt of pgen deploy.")
    held_out = open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
    held_out = keep_in_memory(held_out, settings, ranks)
    # Of codes, the images that they were made of.
    trained_on = info.fingerprint if info.codes is None else str(info.codes.get("source", {}).get("fingerprint"))
    check_held_out(held_out, settings.held_out, images, trained_on, "the images that samples become are")
    if len(held_out) < MINIMUM:
        raise PgenError(f"{option}: --held-out {settings.held_out} holds {len(held_out)} images, wanted at least {MINIMUM}; give more.")
    return held_out


class MetricScore:
    """Asks ``--best-by METRIC`` of samples and held-out images."""

    def __init__(self, run: Run) -> None:
        settings = run.settings
        assert settings.best_by is not None and settings.held_out is not None
        self.run, self.metric, self.to_images = run, select_metrics([settings.best_by]), run.to_images()
        images = open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
        some = np.random.default_rng(settings.seed).choice(len(images), min(N, len(images)), replace=False)
        self.held_out = read_all(subset(images, np.sort(some)))
        transform = self.to_images.transform
        if (negative := negative_fraction(self.held_out, transform.threshold)) and not transform.signed:
            run.log(f"warning: {percent(negative)} of the |charge| of {settings.held_out} is negative, and samples are of unsigned charge")

    def __call__(self, model: nn.Module) -> float:
        """The metric's first measure, of as many samples of ``model`` as there are held-out images; the smaller the better. Infinite where
        it cannot be computed, as for blank samples, which is reported."""
        run = self.run
        seed, unit = run.settings.seed, self.to_images.unit
        parts = drawn(images_of(run, model, self.to_images), len(self.held_out), seed, run.device, unit, lambda done, total: None)
        images = np.concatenate([part.images for part in parts])
        try:
            # Held-out images in place of training images too: a floor is of no use for a ranking.
            # Zero suppression is that of the training, as in the samples.
            threshold = float(self.to_images.transform.threshold)
            sets = EvaluationSets(images, self.held_out, self.held_out, threshold=threshold, unit=unit, seed=seed, device=run.device)
            (finding,) = evaluate(sets, list(self.metric)).results.values()
        except PgenError as error:
            run.log(f"--best-by {run.settings.best_by}: {error}")
            return math.inf
        first = finding.measures[0]
        return first.value if first.better == "low" else -first.value
