"""Write samples of a run or of an exported generator to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from pgen.data.images import ArrayImages
from pgen.data.io.write import add_images, refuse_output, write_images
from pgen.engine.artifacts.run_directory import run_inputs
from pgen.engine.inference.sampler import Sampler, load_program_sampler, make_sampler
from pgen.engine.run import Run
from pgen.engine.runtime.progress import Progress
from pgen.errors import ConfigError, option
from pgen.plugins.requests import SampleRequest
from pgen.report.figures.base import check_figure_path, save_figure
from pgen.report.figures.image_grid import plot_images
from pgen.utils.files import Outputs

#: Images in the figure of `grid`.
GRID = 64


def sample_run(run: Run, request: SampleRequest) -> Path:
    """Write samples of a trained run and return their path."""
    model = run.load_model(request.checkpoint)
    sampler = make_sampler(run, model, run.image_decoder(request.decoder), request.conditions)
    return _write(sampler, request, run.progress, run_inputs(run.folder.path, request.decoder))


def sample_program(path: Path, request: SampleRequest, device: torch.device, progress: Progress) -> Path:
    """Write samples of an exported generator.pt2 and return their path."""
    if request.decoder is not None:
        raise ConfigError(f"{option('decoder', request.decoder)}: {path} contains its decoder; leave it out.")
    if request.checkpoint != "best":
        raise ConfigError(
            f"{option('checkpoint', request.checkpoint)}: {path} holds one state of its model; leave it out, or name the run."
        )
    return _write(load_program_sampler(path, device, request.conditions), request, progress, [path])


def _write(sampler: Sampler, request: SampleRequest, progress: Progress, inputs: list[Path]) -> Path:
    out, file_format = refuse_output(request.out, format=request.format, overwrite=request.overwrite, inputs=inputs)
    grid = None if request.grid is None else check_figure_path(request.grid)
    if grid is not None and not out.suffix and grid.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"{option('grid', grid)}: {out} is to hold the images and nothing else; put the figure next to it.")
    first_images: list[np.ndarray] = []

    def batches() -> Iterator[ArrayImages]:
        for batch in sampler.batches(request.n, request.seed, request.batch_size, progress.images):
            if sum(map(len, first_images)) < GRID:
                first_images.append(batch.images)
            yield batch

    with Outputs(overwrite=request.overwrite, inputs=inputs) as outputs:
        drafts = [add_images(outputs, out), *([] if grid is None else [outputs.add(grid)])]
        write_images(drafts[0], batches(), format=file_format)
        for figure in drafts[1:]:
            save_figure(plot_images(np.concatenate(first_images)[:GRID], unit=sampler.unit), figure)
    return out
