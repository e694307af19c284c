"""The pictures in a run folder: sample grids over time, loss curves, histograms that a model offers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pgen.engine.dataloading.augment import augmented
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.inference.sampler import images_of
from pgen.engine.run import Run
from pgen.engine.runtime.seeding import generator
from pgen.errors import PgenError
from pgen.report.figures.base import save_figure
from pgen.report.figures.curves import plot_histogram, plot_losses
from pgen.report.figures.image_grid import plot_images, plot_rows


@torch.no_grad()
def draw(run: Run, model: nn.Module, step: int) -> None:
    """Draw what the model has to show after ``step`` steps."""
    save_figure(plot_losses({run.folder.path.name: run.folder.read_metrics()}), run.folder.losses)
    for name, counts in model.histograms().items() if callable(getattr(model, "histograms", None)) else ():  # type: ignore[operator]
        save_figure(plot_histogram(counts.cpu().numpy(), name, "count"), run.folder.path / f"{name.replace(' ', '_')}.png")
    if run.settings.sample_size == 0:
        return
    try:
        to_images = run.to_images()
    except PgenError:
        return  # codes without a decoder: there is nothing to look at
    run.ensure_directory()
    path = run.folder.samples / f"step-{step:08d}.png"
    if callable(getattr(model, "sample", None)):
        # The same noise each time, so that the grids show one set of images becoming better.
        noise = generator(run.settings.seed, "grid", device=run.device)
        images, _ = images_of(run, model, to_images)(run.settings.sample_size, noise)
        save_figure(plot_images(images.cpu().numpy(), unit=to_images.unit), path)
        _show(run, step, path)
    elif callable(getattr(model, "encode", None)):
        data = run.held_out or run.data
        real = data.read(range(min(run.settings.sample_size, len(data)))).to(run.device)
        real = real if run.held_out else augmented(real, run.settings, 0, ProcessGroup().parts(len(real))[0])
        rebuilt = to_images(model.decode(model.encode(real)))  # type: ignore[operator]
        rows = {"real": to_images(real).cpu().numpy(), "reconstructed": rebuilt.cpu().numpy()}
        save_figure(plot_rows(rows, unit=to_images.unit), path)
        _show(run, step, path)


def _show(run: Run, step: int, path: Path) -> None:
    for sink in run.sinks:
        sink.log_image(step, "samples", path)
