"""Reconstruction error of the checkpoints of an auto-encoder, and which of them to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from pgen.engine.artifacts.weights import read_header
from pgen.engine.inference.reconstruct import CheckpointChoice, choose_checkpoint, reconstruct_checkpoints
from pgen.engine.run import Run
from pgen.engine.runtime.device import choose_device
from pgen.metrics.features.image_statistics import ratio
from pgen.metrics.fidelity.reconstruction import ReconstructionResult
from pgen.report.figures.base import save_figure
from pgen.report.figures.curves import plot_reconstruction_error
from pgen.report.report import Report
from pgen.report.report_directory import write_json
from pgen.report.tables import Table


@dataclass(frozen=True, repr=False)
class ReconstructionReport(Report):
    """Reconstruction error of each checkpoint.

    Attributes:
        results: Step -> on training and on held-out images.
        choice: The checkpoint to use.
        is_default: Whether it is the one that `pgen deploy` takes by default.
        unit: Unit of charge.
    """

    results: Mapping[int, tuple[ReconstructionResult, ReconstructionResult]]
    choice: CheckpointChoice
    is_default: bool
    unit: str
    kind: ClassVar[str] = "reconstruction.json"

    def tables(self) -> list[Table]:
        """Return a table with one row per checkpoint."""
        rows = []
        for step, (train, held_out) in self.results.items():
            relative = ratio(held_out.mse, held_out.predict_zero_mse)
            values = (train.mse, held_out.mse, relative, held_out.charge_ratio, held_out.occupancy_ratio)
            rows.append((str(step), *(f"{value:.4g}" for value in values)))
        return [Table(("step", "train MSE", "held-out MSE", "of predicting zero", "charge", "occupancy"), [rows])]

    def write(self, folder: Path) -> None:
        """Write reconstruction.json and reconstruction.png."""
        train, held_out = zip(*self.results.values(), strict=True)
        figure = plot_reconstruction_error(
            list(self.results),
            [result.mse for result in train],
            [result.mse for result in held_out],
            chosen=self.choice.step,
            predict_zero_mse=held_out[0].predict_zero_mse,
            unit=self.unit,
        )
        save_figure(figure, folder / "reconstruction.png")
        checkpoints = {str(step): {"train": a.to_dict(), "held_out": b.to_dict()} for step, (a, b) in self.results.items()}
        content = {"checkpoints": checkpoints, "choice": self.choice.to_dict()}
        write_json(folder / "reconstruction.json", content, ["reconstruction.png"])


def evaluate_reconstruction(
    path: str | Path,
    *,
    held_out: str,
    data: str | None = None,
    data_root: str | None = None,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ReconstructionReport:
    """Measure the reconstruction error of each checkpoint of an auto-encoder.

    Args:
        path: Run folder.
        held_out: Real images that it has not seen.
        data: Training images; None for those of the run.
        data_root: Folder in which source strings are looked up.
        device: Where to compute.
        progress: Called as ``progress(done, total)``.

    Raises:
        RunError: The run has no checkpoint, or no finite error.
        DataError: Images cannot be read or do not fit the run.
    """
    run = Run.open(path, device=choose_device(device) if isinstance(device, str) else device)
    results = reconstruct_checkpoints(run, data, held_out, data_root, progress)
    choice = choose_checkpoint(run, {step: on_held_out.mse for step, (_, on_held_out) in results.items()})
    is_default = run.folder.weights.is_file() and read_header(run.folder.weights).step == choice.step
    return ReconstructionReport(results, choice, is_default, run.info.unit)
