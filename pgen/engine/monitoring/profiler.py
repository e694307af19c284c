"""Measure where the time of training goes: a trace for a viewer, and a summary for one screen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from pgen.engine.runtime.progress import logger
from pgen.utils.files import atomic_write

#: Steps left out (compilation, caches), and steps recorded.
WARM_UP, STEPS = 5, 20
#: Parts of a step that the loop marks, and operations in the summary.
PARTS = {"batch": "getting a batch", "training_step": "the model's training step", "save": "saving, validating, drawing"}
SHOWN = 12


class Profiler(AbstractContextManager["Profiler"]):
    """Records some training steps into a folder.

    Args:
        save: Calls the function that writes the profile, given the folder to write into; handles
            its errors.
        device: Where the model trains.
        enabled: Whether to record at all.
    """

    def __init__(self, save: Callable[[Callable[[Path], None]], None], device: torch.device, *, enabled: bool) -> None:
        self._save, self._device = save, device
        self._profiler: Any = None
        if enabled:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
            plan = schedule(wait=WARM_UP - 1, warmup=1, active=STEPS, repeat=1)
            self._profiler = profile(activities=activities, schedule=plan, on_trace_ready=self._save_trace)

    def __enter__(self) -> Profiler:
        if self._profiler:
            self._profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._profiler:
            self._profiler.__exit__(*error)

    def step(self) -> None:
        """Mark the end of a step."""
        if self._profiler:
            self._profiler.step()

    def _save_trace(self, profiler: Any) -> None:
        self._save(partial(self._write, profiler))

    def _write(self, profiler: Any, folder: Path) -> None:
        with atomic_write(folder / "trace.json") as draft:
            profiler.export_chrome_trace(str(draft))
        text = summarise(profiler.key_averages(), on_gpu=self._device.type == "cuda")
        with atomic_write(folder / "profile.txt") as draft:
            draft.write_text(text, encoding="utf-8")
        logger.info(f"{text}\nFor a viewer (ui.perfetto.dev): {folder / 'trace.json'}")


def summarise(averages: Any, *, on_gpu: bool) -> str:
    """Summarise a profile: host time of the parts of a step, and the slowest operations."""
    unit = 1e-3  # times are in microseconds
    parts = {average.key: average for average in averages if average.key in PARTS}
    whole = sum(average.cpu_time_total for average in averages if average.key.startswith("ProfilerStep"))
    lines = [f"{STEPS} steps in {whole * unit:.0f} ms, on the host:"]
    lines += [_line(PARTS[key], average.cpu_time_total, whole, average.count) for key, average in parts.items()]
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    operations = sorted(
        (a for a in averages if a.key not in PARTS and not a.key.startswith("ProfilerStep")), key=lambda a: getattr(a, clock), reverse=True
    )
    total = sum(getattr(average, clock) for average in operations)
    lines.append(f"Operations of {total * unit:.0f} ms on the {'GPU' if on_gpu else 'CPU'}:")
    lines += [_line(average.key, getattr(average, clock), total, average.count) for average in operations[:SHOWN]]
    return "\n".join(lines)


def _line(name: str, microseconds: float, whole: float, calls: int) -> str:
    return f"  {name[:40]:40} {microseconds * 1e-3:10.1f} ms {microseconds / max(whole, 1e-9):6.1%} {calls:8} calls"
