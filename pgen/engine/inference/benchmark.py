"""What a generator costs: parameters, training time, and how fast it samples."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn

from pgen.engine.artifacts.decoder import ImageDecoder
from pgen.engine.inference.sampler import Draw, images_of
from pgen.engine.run import Run
from pgen.engine.runtime.seeding import generator
from pgen.metrics.validation import Result

#: Images at a time: one, as a trigger would ask; a hundred; and so many that more bring no speed, if memory allows.
BATCHES = (1, 100, 2000)
#: Seconds of sampling for each, after a first batch that warms up.
SECONDS = 0.5


@dataclass(frozen=True)
class GeneratorBenchmark(Result):
    """Attributes:
    parameters: of the model, in number; decoder_parameters: of the decoder of its codes.
    seconds_per_step: of training, the median over what was logged; None where nothing was.
    samples_per_second: by images at a time, from noise to images in charge units.
    peak_memory: bytes: of the GPU by torch, or of this whole process on the CPU.
    device: where it was measured, and with how many threads on the CPU.
    """

    parameters: int
    decoder_parameters: int
    seconds_per_step: float | None
    samples_per_second: dict[str, float]
    peak_memory: int
    device: str


def benchmark_generator(run: Run, model: nn.Module, to_images: ImageDecoder) -> GeneratorBenchmark:
    """Measured here and now, on the run's device. UserError for a model that cannot sample."""
    on_gpu = run.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(run.device)
    speeds, draw = {}, images_of(run, model, to_images)
    for size in BATCHES:
        noise = generator(0, "cost", size, run.device)
        _draw(draw, size, noise)
        began, batches = time.monotonic(), 0
        while batches == 0 or time.monotonic() - began < SECONDS:
            _draw(draw, size, noise)
            batches += 1
        speeds[str(size)] = round(batches * size / (time.monotonic() - began), 1)
    logged = [line["samples_per_second"] for line in run.folder.read_metrics() if line.get("samples_per_second")]
    return GeneratorBenchmark(
        parameters=sum(value.numel() for value in model.parameters()),
        decoder_parameters=sum(value.numel() for value in to_images.parameters()),
        seconds_per_step=run.settings.batch_size / statistics.median(logged) if logged else None,
        samples_per_second=speeds,
        peak_memory=torch.cuda.max_memory_allocated(run.device) if on_gpu else _peak_of_process(),
        device=torch.cuda.get_device_name(run.device) if on_gpu else f"cpu, {torch.get_num_threads()} threads",
    )


@torch.no_grad()
def _draw(draw: Draw, size: int, noise: torch.Generator) -> None:
    images, _ = draw(size, noise)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def _peak_of_process() -> int:
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
