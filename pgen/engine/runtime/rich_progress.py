"""Progress bars by rich, for the terminal and for notebooks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pgen.engine.runtime.progress import Progress, TrainingStatus

#: Seconds between two lines of progress if there is no terminal. Training starts with the shorter
#: interval and doubles it after each line.
INTERVAL, FIRST_INTERVAL = 30.0, 2.0


class ProgressBar:
    """Progress of one task, or of several in turn.

    In a terminal it is a bar. Otherwise it is a line at every interval, and at the start of a task
    that has a new title.
    """

    def __init__(self, bars: Any, console: Console, title: str) -> None:
        self._bars, self._console, self._title = bars, console, title
        self.is_live = console.is_terminal or console.is_jupyter
        self._task = bars.add_task(title, total=None, details="")
        self._start = self._last_line = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` items are done."""
        rate = done / max(1e-9, time.monotonic() - self._start)
        self.update(self._title, done, total, f"{done}/{total}  {rate:.0f}/s")

    def start_task(self, title: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` items of the task ``title``."""
        if title != self._title:
            self._title, self._start = title, time.monotonic()
            if not self.is_live:
                self._console.print(title)
        self(done, total)

    def update(self, title: str, done: float, total: float, details: str, *, interval: float = INTERVAL, force: bool = False) -> bool:
        """Show progress.

        Args:
            title: Text in front of the bar.
            done: Amount of work that is done.
            total: All work.
            details: Text behind the bar.
            interval: Seconds from the line before, without a terminal.
            force: Print the line in any case.

        Returns:
            Whether a line was printed.
        """
        if self.is_live:
            self._bars.update(self._task, description=title, completed=done, total=total, details=details)
        elif force or time.monotonic() - self._last_line >= interval:
            self._last_line = time.monotonic()
            self._console.print(f"{title}  {done / max(total, 1e-9):4.0%}  {details}", soft_wrap=True)
            return True
        return False


@contextmanager
def progress_bar(console: Console, title: str = "") -> Iterator[ProgressBar]:
    """Show a :class:`ProgressBar` on a console during the block."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(12),
        TextColumn("{task.percentage:3.0f} %", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # Cut off what does not fit the width of the terminal.
        TextColumn("{task.fields[details]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Bars(*columns, console=console, disable=not (console.is_terminal or console.is_jupyter), expand=True) as bars:
        yield ProgressBar(bars, console, title)


class RichProgress(Progress):
    """Shows the progress of training, deploying and sampling."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar, self._interval = bar, 0.0

    def training(self, status: TrainingStatus) -> None:
        """Show epoch, step, rate, GPU memory and, last because they may be cut off, losses."""
        title = f"epoch {status.epoch}/{status.num_epochs}  step {status.step}"
        memory = [] if status.memory is None else [f"{status.memory / 2**30:.1f} GiB"]
        losses = [f"{name} {value:.4g}" for name, value in status.metrics.items()]
        details = "  ".join([f"{status.rate:.0f} img/s", *memory, *losses])
        if self._bar.update(title, status.fraction, 1.0, details, interval=self._interval, force=status.is_last):
            self._interval = min(INTERVAL, 2 * self._interval) or FIRST_INTERVAL

    def images(self, done: int, total: int) -> None:
        """Show how many images are done."""
        self._bar(done, total)


@contextmanager
def show_progress(title: str, console: Console | None = None) -> Iterator[Progress]:
    """Show progress during the block.

    Args:
        title: Text in front of the bar.
        console: Where to show it; None for a notebook or the terminal, if there is one.

    Yields:
        What the library reports its progress to.
    """
    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield Progress()
        return
    with progress_bar(console, title) as bar:
        yield RichProgress(bar)
