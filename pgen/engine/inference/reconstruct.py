"""Images through an auto-encoder and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pgen.data.images import FloatArray, ImageSet
from pgen.data.io.sources import open_images
from pgen.data.latents import LatentCodes
from pgen.data.transforms.charge import ChargeTransform
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.dataloading.dataset import fitting
from pgen.engine.run import Run
from pgen.engine.training.model_selection import best_step, criterion_of
from pgen.errors import PgenError
from pgen.metrics.fidelity.reconstruction import ReconstructionResult, reconstruction_error
from pgen.metrics.validation import Result
from pgen.utils.resources import require_memory


@dataclass(frozen=True)
class Rebuilt:
    """A batch: which images, their codes (n, D) on the CPU, with their spread where an image is encoded to a distribution, the images as
    they are and as they come back, (n, C, H, W) in charge units."""

    indices: range
    codes: Tensor
    spread: Tensor | None
    real: FloatArray
    images: FloatArray


def can_reconstruct(model: nn.Module) -> bool:
    return callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None))


def images_for(run: Run, source: str | None, data_root: str | None) -> ImageSet:
    """The images to encode (None: those the run was trained on). UserError for images of another shape or unit."""
    if source is None:
        if data_root is not None:
            raise PgenError(f"--data-root {data_root}: there is no --data to look up in it; give both or neither.")
        if isinstance(run.data.samples, LatentCodes):
            raise PgenError(f"{run.folder.path} was trained on code vectors, which are no images; name an auto-encoder run.")
        images, source = run.data.samples, run.data.info.name
    else:
        images = open_images(source, data_root=data_root)
    fitting(images, run.info, source, f"{run.folder.path} was trained on")
    return images


@torch.no_grad()
def reconstruct(run: Run, model: nn.Module, images: ImageSet, batch_size: int = 256) -> Iterator[Rebuilt]:
    """Encode and decode ``images``, batch by batch."""
    assert run.info.transform is not None
    transform, to_images = ChargeTransform.from_dict(run.info.transform), run.to_images()
    for start in range(0, len(images), batch_size):
        indices = range(start, min(start + batch_size, len(images)))
        real = images.read(indices)
        codes, spread = _encoded(model, transform.forward(torch.from_numpy(real).to(run.device)))
        rebuilt = to_images(model.decode(codes)).cpu().numpy()  # type: ignore[operator]
        yield Rebuilt(indices, codes.float().cpu(), None if spread is None else spread.float().cpu(), real, rebuilt)


def _encoded(model: Any, images: Tensor) -> tuple[Tensor, Tensor | None]:
    return model.encode_distribution(images) if callable(getattr(model, "encode_distribution", None)) else (model.encode(images), None)


def reconstruct_checkpoints(
    run: Run, data: str | None, held_out: str, data_root: str | None, tick: Callable[[int, int], None]
) -> dict[int, tuple[ReconstructionResult, ReconstructionResult]]:
    """step -> (on training, on held-out images), in charge units. UserError for a model that does not reconstruct."""
    sets = images_for(run, data, data_root if data else None), images_for(run, held_out, data_root)
    steps = checkpoints.steps(run.folder)
    results = {}
    for done, step in enumerate(steps):
        model = run.load_model(str(step))
        if not can_reconstruct(model):
            raise PgenError(f"{run.folder.path} holds {run.plugin.spec.name!r}, which reconstructs nothing; name an auto-encoder run.")
        results[step] = (_error(run, model, sets[0]), _error(run, model, sets[1]))
        tick(done + 1, len(steps))
    if not results:
        raise PgenError(f"{run.folder.path} has no checkpoint yet; train it further with --resume.")
    return results


@dataclass(frozen=True)
class CheckpointChoice(Result):
    """The checkpoint to use. step: its step. by: the error on held-out data that is smallest there."""

    step: int
    by: str


def choose_checkpoint(run: Run, held_out_mse: Mapping[int, float]) -> CheckpointChoice:
    """The checkpoint of a run to use: the one that training found best by its held-out data, which is what `pgen deploy` and `pgen sample`
    take; of a run without such data the one with the smallest error now.

    Args:
        held_out_mse: step -> reconstruction error on held-out images, of all checkpoints.

    Raises:
        UserError: no error is a finite number.
    """
    judged = checkpoints.load(run.folder).best
    if judged is not None and math.isfinite(judged[1]) and judged[0] in held_out_mse:
        return CheckpointChoice(judged[0], f"{criterion_of(run)} in training")
    step = best_step(held_out_mse)
    if step is None:
        raise PgenError(f"{run.folder.path}: no checkpoint has a finite error, so training diverged; train again, more slowly.")
    return CheckpointChoice(step, "held-out MSE")


def _error(run: Run, model: nn.Module, images: ImageSet) -> ReconstructionResult:
    # Of images and reconstructions the batches, and all of them put together.
    require_memory(16 * len(images) * prod(images.shape), images.name, "give fewer images, as with the option :limit=1000")
    batches = list(reconstruct(run, model, images))
    # Against the images as they are: what zero suppression took away counts as lost.
    real, rebuilt = (np.concatenate(parts) for parts in zip(*((batch.real, batch.images) for batch in batches), strict=True))
    return reconstruction_error(real, rebuilt, run.settings.threshold)
