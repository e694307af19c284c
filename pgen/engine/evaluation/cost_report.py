"""Comparison of what generators cost: parameters, training time, sampling speed and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from pgen.engine.inference.benchmark import GeneratorBenchmark, benchmark_generator
from pgen.engine.run import Run
from pgen.engine.runtime.device import choose_device
from pgen.report.report import Report
from pgen.report.report_directory import write_json
from pgen.report.tables import Table


@dataclass(frozen=True, repr=False)
class CostReport(Report):
    """Costs of generators.

    Attributes:
        costs: Name of a run -> its cost.
    """

    costs: Mapping[str, GeneratorBenchmark]
    kind: ClassVar[str] = "cost.json"

    def tables(self) -> list[Table]:
        """Return a table with one column per run."""
        costs = list(self.costs.values())
        steps = ("" if cost.seconds_per_step is None else f"{cost.seconds_per_step:.3g}" for cost in costs)
        rows = [
            ("parameters", *(f"{cost.parameters:,}" for cost in costs)),
            ("of its decoder", *(f"{cost.decoder_parameters:,}" for cost in costs)),
            ("seconds per training step", *steps),
            *(
                (f"images per second, {size} at a time", *(f"{cost.samples_per_second[size]:,.0f}" for cost in costs))
                for size in costs[0].samples_per_second
            ),
            ("peak memory", *(f"{cost.peak_memory / 2**30:.2f} GiB" for cost in costs)),
        ]
        return [Table(("", *self.costs), [rows])]

    def write(self, folder: Path) -> None:
        """Write cost.json."""
        write_json(folder / "cost.json", {name: cost.to_dict() for name, cost in self.costs.items()}, [])


def evaluate_cost(
    runs: Sequence[str | Path], *, checkpoint: str = "best", decoder: str | None = None, device: str | torch.device = "auto"
) -> CostReport:
    """Measure the cost of the generators of one or more runs.

    Args:
        runs: Run folders.
        checkpoint: Saved state: best, last or a step.
        decoder: Decoder for samples that are latents, in place of the run's own.
        device: Where to compute.

    Raises:
        RunError: A folder has no such state.
        PgenError: A model does not generate.
    """
    place = choose_device(device) if isinstance(device, str) else device
    costs = {}
    for path in runs:
        run = Run.open(path, device=place)
        costs[str(path)] = benchmark_generator(run, run.load_model(checkpoint), run.image_decoder(decoder))
    return CostReport(costs)
