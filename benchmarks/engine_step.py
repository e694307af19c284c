"""Claim: the engine costs almost nothing per step, compared with a minimal PyTorch loop.

    python benchmarks/engine_step.py [--quick]

The minimal loop is what one writes by hand: data on the device, a permutation per epoch, zero_grad,
backward, step; no checks, logs or progress bars. On the CPU the two take turns step by step. On a
GPU, the script also runs the loop of the original code, a DataLoader of PNG files that waits for
the GPU at every step, and reports the fraction of the peak performance that each reaches. --quick
runs a few steps, to test the script.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import record
from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.run import Run
from pgen.engine.training.loop import TrainingLoop
from pgen.engine.training.session import TrainingSession
from pgen.engine.training.setup import create_run
from pgen.plugins import registry

WARM_UP = 20
#: Dense peaks in FLOP/s, of the data sheets: fp32 without tensor cores.
PEAKS = {"H100": 67e12, "H200": 67e12}


@dataclass
class Case:
    name: str
    model: str
    settings: dict[str, Any]
    config: dict[str, Any]
    steps: int


CASES = [
    Case("gan 64x64", "gan", {"data": "simulate:n=2000,size=64,seed=1", "batch_size": 64}, {}, 200),
    Case("ae conv 64x64", "ae", {"data": "simulate:n=1000,size=64,seed=1", "batch_size": 32}, {}, 60),
    Case("ae conv 256x256", "ae", {"data": "simulate:n=100,size=256,seed=1", "batch_size": 16}, {"depth": 8}, 20),
    Case("ewm 16x16", "ewm", {"targets": "simulate:n=2000,size=16,seed=1", "batch_size": 512}, {"ots_steps": 100}, 300),
]


class Timed(TrainingLoop):
    """The engine's loop, alternating with a step by hand, so that both see the same machine load."""

    def __init__(self, session: TrainingSession, by_hand: Callable[[int], object]) -> None:
        super().__init__(session)
        self.by_hand, self.ours, self.theirs = by_hand, 0.0, 0.0
        self.left: float | None = None

    def _do_step(self, batches: Any) -> Any:
        came = time.perf_counter()
        self.by_hand(self.step)
        leaves = time.perf_counter()
        if self.step > WARM_UP and self.left is not None:
            # All that the engine did since the last step by hand.
            self.ours += came - self.left
            self.theirs += leaves - came
        self.left = leaves
        return super()._do_step(batches)


class TimedOnGpu(TrainingLoop):
    """Synchronises with the GPU only at the first and the last timed step."""

    since = seconds = 0.0

    def _do_step(self, batches: Any) -> Any:
        if self.step == WARM_UP:
            self.since = _now(self.run.device)
        return super()._do_step(batches)

    def _save(self, epoch: float) -> None:
        self.seconds = (_now(self.run.device) - self.since) / (self.step - WARM_UP)
        super()._save(epoch)


class ByHand:
    """The minimal trainer that a model needs."""

    def __init__(self, model: Any, device: torch.device, batch_size: int) -> None:
        self.optimizers, self.device, self.batch_size = model.optimizers(), device, batch_size
        self.shuffle, self.group, self.step, self.condition = True, None, 0, None

    def generator(self, step: int | None = None, *, common: bool = False) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(abs(self.step if step is None else step) + 10**6 * (step is not None and step < 0))

    def sample_noise(self, draw: Callable[..., Tensor], step: int | None = None) -> Tensor:
        return draw(self.batch_size, generator=self.generator(step))

    def local_rows(self, rows: Tensor) -> Tensor:
        return rows

    gather = local_rows

    def update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()


def shuffled(samples: Tensor, size: int) -> Iterator[Tensor]:
    while True:
        for indices in torch.randperm(len(samples), device=samples.device).split(size)[: len(samples) // size]:
            yield samples[indices]


def hand_step(run: Run, batches: Iterator[Tensor], *, sync: bool = False) -> Callable[[int], object]:
    """Return a step by hand of a separate model; ``sync`` waits for its losses."""
    torch.manual_seed(0)
    model = run.new_model().train()
    trainer = ByHand(model, run.device, run.settings.batch_size)

    def step(number: int) -> object:
        trainer.step = number
        metrics = model.training_step(next(batches), trainer)
        return [value.item() for value in metrics.values()] if sync else None

    return step


def seconds_by_hand(run: Run, step: Callable[[int], object], steps: int) -> float:
    began = 0.0
    for number in range(steps):
        if number == WARM_UP:
            began = _now(run.device)
        step(number)
    return (_now(run.device) - began) / (steps - WARM_UP)


class Pngs(Dataset):
    """The original code's dataset: one file per image."""

    def __init__(self, folder: Path, samples: Tensor) -> None:
        self.paths = []
        for number, image in enumerate((255 * samples[:, 0]).byte().cpu().numpy()):
            self.paths.append(folder / f"{number}.png")
            Image.fromarray(image).save(self.paths[-1])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.asarray(Image.open(self.paths[index]), np.float32) / 255)[None]


def from_files(folder: Path, samples: Tensor, size: int, device: torch.device) -> Iterator[Tensor]:
    loader = DataLoader(Pngs(folder, samples), size, shuffle=True, drop_last=True, num_workers=4)
    while True:
        for batch in loader:
            yield batch.to(device)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def flops(run: Run, batch: Tensor) -> int:
    """Count the floating-point operations of one training step."""
    model = run.new_model().train()
    with FlopCounterMode(display=False) as counter:
        model.training_step(batch, ByHand(model, run.device, run.settings.batch_size))
    return counter.get_total_flops()


def measured(case: Case, folder: Path, repeats: int) -> dict[str, Any]:
    plugin = registry.load(case.model)
    more = {"sample_size": 0, "checkpoint": 10**9, "num_epochs": 10**6, "drop_last": case.model != "ewm", "save_root": str(folder)}
    steps = case.steps + WARM_UP
    settings = TrainConfig(**{**plugin.spec.settings, **case.settings, **more, "max_steps": steps})
    config = plugin.config_class()(**case.config)

    def new_session() -> TrainingSession:
        return create_run(case.model, settings, config)

    run = new_session().run
    targets = plugin.spec.inputs == "targets"
    samples = run.data.targets(ProcessGroup().shards(run.info.count)[0], sparse=plugin.spec.sparse) if targets else run.data.tensor()
    samples = samples.to(run.device)
    batches = iter(lambda: samples, None) if targets else shuffled(samples, settings.batch_size)
    rounds: list[tuple[float, float]] = []  # ours, by hand
    for _ in range(repeats):
        step = hand_step(run, batches)
        if run.device.type == "cuda":
            theirs = seconds_by_hand(run, step, steps)
            (gpu := TimedOnGpu(new_session())).run_to_end()
            rounds.append((gpu.seconds, theirs))
        else:
            (loop := Timed(new_session(), step)).run_to_end()
            rounds.append((loop.ours / case.steps, loop.theirs / case.steps))
    result: dict[str, Any] = {"pgen": statistics.median(a for a, _ in rounds), "by hand": statistics.median(b for _, b in rounds)}
    result |= {"overhead": statistics.median(a / b - 1 for a, b in rounds), "overheads": [round(a / b - 1, 4) for a, b in rounds]}
    count = flops(run, samples if targets else samples[: settings.batch_size])
    result |= {"flop": count, "flop_per_second": count / result["pgen"]}
    if run.device.type == "cuda":
        peak = next((peak for known, peak in PEAKS.items() if known in torch.cuda.get_device_name()), None)
        result["of_peak"] = peak and result["flop_per_second"] / peak
        if not targets:
            files = folder / case.name.replace(" ", "-")
            files.mkdir()
            loader = from_files(files, samples, settings.batch_size, run.device)
            result["original style"] = seconds_by_hand(run, hand_step(run, loader, sync=True), steps)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="folder of the result")
    options = parser.parse_args()
    name, found = "engine_step_cuda" if torch.cuda.is_available() else "engine_step", {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            found[case.name] = measured(replace(case, steps=3) if options.quick else case, Path(folder), options.repeats)
            rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in found[case.name].items()}
            print(case.name, rounded, flush=True)
            # As it goes, for whoever has little time.
            record.write(name, {"seconds_per_step": found, "repeats": options.repeats}, folder=options.out)


if __name__ == "__main__":
    main()
