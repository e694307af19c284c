"""Drawing images from a run or from an exported generator, in batches, to a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pgen.data.images import ArrayImages
from pgen.data.io.write import add_images, refuse_output, write_images
from pgen.data.transforms.zero_suppression import NOTE, note_suppression
from pgen.engine.artifacts.exported_program import conditions_in, load_program
from pgen.engine.artifacts.run_directory import run_inputs
from pgen.engine.dataloading.conditions import ConditionSampler
from pgen.engine.inference.sampler import Draw, drawn, images_of, with_conditions
from pgen.engine.run import Run
from pgen.engine.runtime.progress import Reporter
from pgen.errors import PgenError, option_name
from pgen.plugins.requests import SampleRequest
from pgen.report.figures.base import check_figure_path, save_figure
from pgen.report.figures.image_grid import plot_images
from pgen.utils.files import Outputs

#: Images shown in the picture of --grid.
GRID = 64


def sample_run(run: Run, request: SampleRequest) -> Path:
    """Sample from a trained run."""
    model = run.load_model(request.checkpoint)
    to_images = run.to_images(request.decoder)
    draw, threshold = images_of(run, model, to_images), to_images.transform.threshold
    return _write(draw, request, run.device, to_images.unit, threshold, run.reporter, run_inputs(run.folder.path, request.decoder))


def sample_program(path: Path, request: SampleRequest, device: torch.device, reporter: Reporter, given: Mapping[str, str]) -> Path:
    """Sample from a generator.pt2. given: its conditions."""
    if request.decoder is not None:
        raise PgenError(f"--decoder {request.decoder}: {path} has its decoder inside; leave --decoder out.")
    if request.checkpoint != "best":
        raise PgenError(f"--checkpoint {request.checkpoint}: {path} holds one state of its model; leave --checkpoint out, or name the run.")
    program, facts = load_program(path, device)
    conditions = conditions_in(facts)
    if strange := [option_name(name) for name in given if name not in [condition.name for condition in conditions]]:
        raise PgenError(f"{', '.join(strange)}: no such option of {path}; what its model could be told, `pgen deploy` has fixed.")

    def draw(n: int, noise: torch.Generator, condition: Tensor | None) -> Tensor:
        return program(torch.randn(n, *facts["noise"], generator=noise, device=device), *(() if condition is None else (condition,)))

    asked = ConditionSampler.from_values(conditions, given) if conditions else None
    return _write(with_conditions(asked, draw), request, device, facts["unit"], facts.get(NOTE), reporter, [path])


def _write(
    draw: Draw,
    request: SampleRequest,
    device: torch.device,
    unit: str,
    threshold: float | None,
    reporter: Reporter,
    inputs: list[Path],
) -> Path:
    out, format = refuse_output(request.out, format=request.format, overwrite=request.overwrite, inputs=inputs)
    grid = None if request.grid is None else check_figure_path(request.grid)
    if grid is not None and not out.suffix and grid.resolve().is_relative_to(out.resolve()):
        raise PgenError(f"--grid {grid}: {out} is to hold the images and nothing else; put the picture beside it.")
    shown: list[np.ndarray] = []

    def chunks() -> Iterator[ArrayImages]:
        for part in drawn(draw, request.n, request.seed, device, unit, reporter.tick, request.batch_size):
            if sum(map(len, shown)) < GRID:
                shown.append(part.images)
            note_suppression(part, threshold)
            yield part

    with Outputs(overwrite=request.overwrite, inputs=inputs) as outputs:
        drafts = [add_images(outputs, out), *([] if grid is None else [outputs.add(grid)])]
        write_images(drafts[0], chunks(), format=format)
        for picture in drafts[1:]:
            save_figure(plot_images(np.concatenate(shown)[:GRID], unit=unit), picture)
    return out
