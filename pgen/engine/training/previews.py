"""Figures in the run directory: losses, histograms that a model offers, samples or reconstructions over time."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pgen.engine.dataloading.augment import augment
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.inference.sampler import make_sampler
from pgen.engine.runtime.seeding import generator
from pgen.engine.training.session import TrainingSession
from pgen.errors import PgenError
from pgen.report.figures.base import save_figure
from pgen.report.figures.curves import plot_histogram, plot_losses
from pgen.report.figures.image_grid import plot_images, plot_rows


@torch.no_grad()
def draw(session: TrainingSession, model: nn.Module, step: int) -> None:
    """Draw the figures of a checkpoint."""
    run = session.run
    save_figure(plot_losses({run.folder.path.name: run.folder.read_metrics()}), run.folder.losses)
    for name, counts in model.histograms().items() if callable(getattr(model, "histograms", None)) else ():  # type: ignore[operator]
        save_figure(plot_histogram(counts.cpu().numpy(), name, "count"), run.folder.path / f"{name.replace(' ', '_')}.png")
    if run.settings.sample_size == 0:
        return
    try:
        decoder = run.image_decoder()
    except PgenError:
        return  # latent codes without a decoder: there are no images to draw
    session.ensure_directory()
    path = run.folder.samples / f"step-{step:08d}.png"
    if callable(getattr(model, "sample", None)):
        # The same noise each time, so that the grids show how one set of images improves.
        noise = generator(run.settings.seed, "grid", device=run.device)
        images, _ = make_sampler(run, model, decoder).draw(run.settings.sample_size, noise)
        save_figure(plot_images(images.cpu().numpy(), unit=decoder.unit), path)
        _log_image(session, step, path)
    elif callable(getattr(model, "encode", None)):
        dataset = session.held_out or session.dataset
        real = dataset.read(range(min(run.settings.sample_size, len(dataset)))).to(run.device)
        if session.held_out is None:
            real = augment(real, run.settings, 0, ProcessGroup().shards(len(real))[0])
        reconstructed = decoder(model.decode(model.encode(real)))  # type: ignore[operator]
        rows = {"real": decoder(real).cpu().numpy(), "reconstructed": reconstructed.cpu().numpy()}
        save_figure(plot_rows(rows, unit=decoder.unit), path)
        _log_image(session, step, path)


def _log_image(session: TrainingSession, step: int, path: Path) -> None:
    for logger in session.loggers:
        logger.log_image(step, "samples", path)
