"""Choose the best checkpoint by an evaluation metric: images improve longer than losses.

Apart from model_selection.py, since metrics need libraries that load slowly.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from pgen.data.images import ImageSet, read_all, subset
from pgen.data.io.sources import open_images
from pgen.data.sparse import negative_fraction
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import check_held_out, keep_in_memory, percent
from pgen.engine.inference.sampler import make_sampler
from pgen.engine.training.session import TrainingSession
from pgen.errors import ConfigError, DataError, PgenError, option
from pgen.metrics.inputs import MINIMUM, EvaluationSets
from pgen.metrics.runner import evaluate, select_metrics
from pgen.plugins.specs import DataInfo

#: Images sampled and compared at each checkpoint: enough to rank them, and soon done.
N_IMAGES = 1000


def check_best_by(settings: TrainConfig, metric: str, model: type, info: DataInfo, images: DataInfo | None, processes: int = 1) -> ImageSet:
    """Open the held-out images for `best_by`.

    Args:
        settings: Name them.
        metric: The metric of `best_by`.
        model: Class of the model.
        info: Its training data.
        images: What its samples are as images; None where nothing can decode them.
        processes: How many processes share this machine's memory.

    Raises:
        ConfigError: The metric cannot be computed for such a model.
        DataError: The held-out images do not fit.
    """
    name = option("best_by", metric)
    select_metrics([metric])
    if not callable(getattr(model, "sample", None)):
        raise ConfigError(f"{name}: this model generates nothing that could be compared; leave it out.")
    if settings.held_out is None:
        raise ConfigError(f"{name} compares samples with held-out images; name them with {option('held_out')}.")
    if images is None:
        raise ConfigError(f"{name}: {info.name} came without a decoder, which makes images of samples; give a codes.pt of pgen deploy.")
    held_out = open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
    held_out = keep_in_memory(held_out, settings, processes)
    # Of latent codes, the images that they were made of.
    trained_on = info.fingerprint if info.codes is None else str(info.codes.get("source", {}).get("fingerprint"))
    check_held_out(held_out, settings.held_out, images, trained_on, "the images that samples become are")
    if len(held_out) < MINIMUM:
        raise DataError(
            f"{name}: {option('held_out', settings.held_out)} holds {len(held_out)} images, expected at least {MINIMUM}; give more."
        )
    return held_out


class MetricScore:
    """Computes `best_by` of a model's samples against held-out images; smaller is better."""

    def __init__(self, session: TrainingSession) -> None:
        run, settings = session.run, session.run.settings
        assert settings.best_by is not None and settings.held_out is not None
        self.session, self.metric, self.decoder = session, select_metrics([settings.best_by]), run.image_decoder()
        images = open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
        indices = np.random.default_rng(settings.seed).choice(len(images), min(N_IMAGES, len(images)), replace=False)
        self.held_out = read_all(subset(images, np.sort(indices)))
        if (negative := negative_fraction(self.held_out, self.decoder.threshold)) and not self.decoder.transform.signed:
            session.log(
                f"warning: {percent(negative)} of the |charge| of {settings.held_out} is negative, and samples are of unsigned charge"
            )

    def __call__(self, model: nn.Module) -> float:
        """Compute the metric's first measure from as many samples as there are held-out images.

        Returns:
            The measure, negated if larger is better; infinite where it cannot be computed, as for
            blank samples, which is logged.
        """
        run, seed = self.session.run, self.session.run.settings.seed
        sampler = make_sampler(run, model, self.decoder)
        images = np.concatenate([batch.images for batch in sampler.batches(len(self.held_out), seed)])
        try:
            # Held-out images in place of training images too: ranking needs no baseline.
            sets = EvaluationSets(
                images,
                self.held_out,
                self.held_out,
                threshold=self.decoder.threshold,
                unit=self.decoder.unit,
                seed=seed,
                device=run.device,
                permutations=0,
            )
            (result,) = evaluate(sets, list(self.metric)).results.values()
        except PgenError as error:
            self.session.log(f"{option('best_by', run.settings.best_by)}: {error}")
            return math.inf
        measure = result.measures[0]
        return measure.value if measure.better == "low" else -measure.value
