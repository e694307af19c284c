"""Where the time of training goes: a trace for a viewer, and a summary for one screen."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile, schedule

from pgen.engine.run import Run
from pgen.utils.files import atomic_write

#: Steps before (compilation, caches) and steps that are looked at.
BEFORE, STEPS = 5, 20
#: Parts of a step that the loop marks, and operations in the summary.
PARTS = {"batch": "getting a batch", "training_step": "the model's training step", "save": "saving, judging, drawing"}
SHOWN = 12


class Profile(AbstractContextManager["Profile"]):
    """Records some steps of a run that was asked for --profile, on the first rank; otherwise does nothing."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._profiler: Any = None
        if run.profile and run.ranks.rank == 0:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if run.device.type == "cuda" else [])]
            plan = schedule(wait=BEFORE - 1, warmup=1, active=STEPS, repeat=1)
            self._profiler = profile(activities=activities, schedule=plan, on_trace_ready=self._ready)

    def __enter__(self) -> Profile:
        if self._profiler:
            self._profiler.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._profiler:
            self._profiler.__exit__(*error)

    def step(self) -> None:
        """A step has ended."""
        if self._profiler:
            self._profiler.step()

    def _ready(self, found: Any) -> None:
        self._run.attempt("the profile", partial(self._save, found), Exception)

    def _save(self, found: Any) -> None:
        self._run.ensure_directory()
        folder = self._run.folder.path
        with atomic_write(folder / "trace.json") as temporary:
            found.export_chrome_trace(str(temporary))
        text = summary(found.key_averages(), on_gpu=self._run.device.type == "cuda")
        with atomic_write(folder / "profile.txt") as temporary:
            temporary.write_text(text, encoding="utf-8")
        self._run.reporter.message(f"{text}\nFor a viewer (ui.perfetto.dev): {folder / 'trace.json'}")


def summary(averages: Any, *, on_gpu: bool) -> str:
    """One screen: how long the parts of a step take on the host, and which operations, with what they call left out, take longest."""
    unit = 1e-3  # times come in microseconds
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
