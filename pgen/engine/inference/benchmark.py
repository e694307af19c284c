"""Measure what a generator costs: parameters, training time, sampling speed and memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn

from pgen.engine.artifacts.decoder import ImageDecoder
from pgen.engine.inference.sampler import Sampler, make_sampler
from pgen.engine.run import Run
from pgen.engine.runtime.seeding import generator
from pgen.metrics.validation import Result

#: Images per batch: one, as in a trigger; a hundred; and so many that more bring no speed.
BATCH_SIZES = (1, 100, 2000)
#: Seconds of sampling per batch size, after a first batch.
SECONDS = 0.5


@dataclass(frozen=True)
class GeneratorBenchmark(Result):
    """What a generator costs.

    Attributes:
        parameters: Number of parameters of the model.
        decoder_parameters: Number of parameters of the decoder of its codes.
        seconds_per_step: Median training time per step, from the log; None where nothing was
            logged.
        samples_per_second: By batch size, from noise to images in charge units.
        peak_memory: Bytes; on the GPU those of torch, on the CPU those of this process.
        device: Where it was measured, and with how many threads on the CPU.
    """

    parameters: int
    decoder_parameters: int
    seconds_per_step: float | None
    samples_per_second: dict[str, float]
    peak_memory: int
    device: str


def benchmark_generator(run: Run, model: nn.Module, decoder: ImageDecoder) -> GeneratorBenchmark:
    """Measure a generator now, on the run's device.

    Raises:
        RunError: The model cannot sample.
    """
    on_gpu = run.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(run.device)
    speeds, sampler = {}, make_sampler(run, model, decoder)
    for size in BATCH_SIZES:
        noise = generator(0, "cost", size, run.device)
        _draw(sampler, size, noise)
        started, batches = time.monotonic(), 0
        while batches == 0 or time.monotonic() - started < SECONDS:
            _draw(sampler, size, noise)
            batches += 1
        speeds[str(size)] = round(batches * size / (time.monotonic() - started), 1)
    logged = [line["samples_per_second"] for line in run.folder.read_metrics() if line.get("samples_per_second")]
    return GeneratorBenchmark(
        parameters=sum(value.numel() for value in model.parameters()),
        decoder_parameters=sum(value.numel() for value in decoder.parameters()),
        seconds_per_step=run.settings.batch_size / statistics.median(logged) if logged else None,
        samples_per_second=speeds,
        peak_memory=torch.cuda.max_memory_allocated(run.device) if on_gpu else _peak_memory_of_process(),
        device=torch.cuda.get_device_name(run.device) if on_gpu else f"cpu, {torch.get_num_threads()} threads",
    )


def _draw(sampler: Sampler, size: int, noise: torch.Generator) -> None:
    images, _ = sampler.draw(size, noise)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def _peak_memory_of_process() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
