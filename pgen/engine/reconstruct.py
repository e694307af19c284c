"""Reconstruction error of every checkpoint of a run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pgen.data.images import ImageSet
from pgen.data.source import open_images
from pgen.data.transform import Transform
from pgen.engine import checkpoint as checkpoints
from pgen.engine.run import Run
from pgen.errors import UserError
from pgen.metrics.reconstruction import ReconstructionResult, reconstruction_error

BATCH = 256


def reconstruct_checkpoints(
    run: Run, data: str | None, held_out: str, data_root: str | None, tick: Callable[[int, int], None]
) -> dict[int, tuple[ReconstructionResult, ReconstructionResult]]:
    """step -> (on training, on held-out images), in charge units. UserError for a model that does not reconstruct."""
    train = open_images(data, data_root=data_root) if data else run.data.samples
    sets: list[ImageSet] = [train, open_images(held_out, data_root=data_root)]  # type: ignore[list-item]
    steps = checkpoints.steps(run.folder)
    results = {}
    for done, step in enumerate(steps):
        model = run.load_model(str(step))
        if not (callable(getattr(model, "encode", None)) and callable(getattr(model, "decode", None))):
            raise UserError(f"{run.folder.path} holds {run.plugin.spec.name!r}, which reconstructs nothing; name an auto-encoder run.")
        results[step] = (_error(run, model, sets[0]), _error(run, model, sets[1]))
        tick(done + 1, len(steps))
    if not results:
        raise UserError(f"{run.folder.path} has no checkpoint yet; train it further with --resume.")
    return results


@torch.no_grad()
def _error(run: Run, model: torch.nn.Module, images: ImageSet) -> ReconstructionResult:
    if images.shape != run.info.shape:
        raise UserError(f"{images.name}: found images of {images.shape}, wanted {run.info.shape} as {run.folder.path} was trained on.")
    assert run.info.transform is not None
    transform, to_images = Transform.from_dict(run.info.transform), run.to_images()
    real, rebuilt = [], []
    for start in range(0, len(images), BATCH):
        real.append(images.read(range(start, min(start + BATCH, len(images)))))
        batch = transform.forward(torch.from_numpy(real[-1]).to(run.device))
        rebuilt.append(to_images(model.decode(model.encode(batch))).cpu().numpy())  # type: ignore[operator]
    # Against the images as they are: what zero suppression took away counts as lost.
    return reconstruction_error(np.concatenate(real), np.concatenate(rebuilt), run.settings.threshold)
