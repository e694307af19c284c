"""Where the time of training goes: a trace for a viewer, and a summary for one screen."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch.profiler import ProfilerActivity, profile, schedule

from pgen.engine.run import Run
from pgen.files import atomic

#: Steps before (compilation, caches) and steps that are looked at.
BEFORE, STEPS = 5, 20


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
        folder = self._run.folder.path
        with atomic(folder / "trace.json") as temporary:
            found.export_chrome_trace(str(temporary))
        by = "self_device_time_total" if self._run.device.type == "cuda" else "self_cpu_time_total"
        table = found.key_averages().table(sort_by=by, row_limit=15, max_name_column_width=40)
        with atomic(folder / "profile.txt") as temporary:
            temporary.write_text(table)
        self._run.reporter.message(f"{table}\n{STEPS} steps; for a viewer (ui.perfetto.dev): {folder / 'trace.json'}")
