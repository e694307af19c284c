"""Encode and decode images with an auto-encoder."""

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
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.dataloading.dataset import require_same_kind
from pgen.engine.run import Run
from pgen.errors import ConfigError, RunError, option
from pgen.metrics.fidelity.reconstruction import ReconstructionResult, reconstruction_error
from pgen.metrics.validation import Result
from pgen.utils.resources import require_memory


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed batch.

    Attributes:
        indices: Which images.
        codes: Latent codes (n, D), on the CPU.
        spread: Standard deviation of the codes (n, D), where an image is encoded to a distribution.
        real: The images (n, C, H, W) in charge units.
        images: Their reconstructions (n, C, H, W) in charge units.
    """

    indices: range
    codes: Tensor
    spread: Tensor | None
    real: FloatArray
    images: FloatArray


def can_reconstruct(model: nn.Module) -> bool:
    """Whether a model encodes and decodes."""
    return callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None))


def images_for(run: Run, source: str | None, data_root: str | None) -> ImageSet:
    """Open the images to encode; None for those the run was trained on.

    Raises:
        DataError: They have another shape or unit.
    """
    if source is None:
        if data_root is not None:
            raise ConfigError(f"{option('data_root', data_root)}: there is no {option('data')} to look up in it; give both or neither.")
        if isinstance(run.data.samples, LatentCodes):
            raise RunError(f"{run.folder.path} was trained on latent codes, which are no images; name an auto-encoder run.")
        images, source = run.data.samples, run.data.info.name
    else:
        images = open_images(source, data_root=data_root)
    require_same_kind(images, run.info, source, f"{run.folder.path} was trained on")
    return images


@torch.no_grad()
def reconstruct(run: Run, model: nn.Module, images: ImageSet, batch_size: int = 256) -> Iterator[Reconstruction]:
    """Encode and decode ``images`` batch by batch."""
    decoder = run.image_decoder()
    for start in range(0, len(images), batch_size):
        indices = range(start, min(start + batch_size, len(images)))
        real = images.read(indices)
        codes, spread = _encode(model, decoder.transform.forward(torch.from_numpy(real).to(run.device)))
        reconstructed = decoder(model.decode(codes)).cpu().numpy()  # type: ignore[operator]
        yield Reconstruction(indices, codes.float().cpu(), None if spread is None else spread.float().cpu(), real, reconstructed)


def _encode(model: Any, images: Tensor) -> tuple[Tensor, Tensor | None]:
    return model.encode_distribution(images) if callable(getattr(model, "encode_distribution", None)) else (model.encode(images), None)


def reconstruct_checkpoints(
    run: Run, data: str | None, held_out: str, data_root: str | None, progress: Callable[[int, int], None]
) -> dict[int, tuple[ReconstructionResult, ReconstructionResult]]:
    """Compute the reconstruction error of all checkpoints on training and held-out images.

    Raises:
        RunError: The model does not reconstruct.
    """
    sets = images_for(run, data, data_root if data else None), images_for(run, held_out, data_root)
    steps = checkpoints.steps(run.folder)
    results = {}
    for done, step in enumerate(steps):
        model = run.load_model(str(step))
        if not can_reconstruct(model):
            raise RunError(f"{run.folder.path} holds {run.plugin.spec.name!r}, which reconstructs nothing; name an auto-encoder run.")
        results[step] = (_error(run, model, sets[0]), _error(run, model, sets[1]))
        progress(done + 1, len(steps))
    if not results:
        raise RunError(f"{run.folder.path} has no checkpoint yet; train it further with {option('resume')}.")
    return results


@dataclass(frozen=True)
class CheckpointChoice(Result):
    """The checkpoint to use.

    Attributes:
        step: Its step.
        by: The held-out error that is smallest there.
    """

    step: int
    by: str


def choose_checkpoint(run: Run, held_out_mse: Mapping[int, float]) -> CheckpointChoice:
    """Choose the checkpoint to use.

    It is the one that was best on held-out data in training, which `pgen deploy` and `pgen sample`
    use; for a run without such data the one with the smallest error now.

    Args:
        run: The run.
        held_out_mse: Step to reconstruction error on held-out images, for all checkpoints.

    Raises:
        RunError: No error is finite.
    """
    best = checkpoints.load(run.folder).best
    if best is not None and math.isfinite(best[1]) and best[0] in held_out_mse:
        return CheckpointChoice(best[0], f"{run.criterion} in training")
    step = checkpoints.best_step(held_out_mse)
    if step is None:
        raise RunError(f"{run.folder.path}: no checkpoint has a finite error, so training diverged; train again, more slowly.")
    return CheckpointChoice(step, "held-out MSE")


def _error(run: Run, model: nn.Module, images: ImageSet) -> ReconstructionResult:
    # Images and reconstructions, in batches and concatenated.
    require_memory(16 * len(images) * prod(images.shape), images.name, "give fewer images, as with the option :limit=1000")
    batches = list(reconstruct(run, model, images))
    # Compared with the images before zero suppression: what it removes counts as lost.
    real, reconstructed = (np.concatenate(parts) for parts in zip(*((batch.real, batch.images) for batch in batches), strict=True))
    return reconstruction_error(real, reconstructed, run.settings.threshold)
