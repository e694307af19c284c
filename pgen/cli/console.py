"""Output to the terminal: text, hints on the next command, and a progress bar."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pgen.cli.error_messages import with_flags
from pgen.engine.runtime.progress import Progress, TrainingStatus
from pgen.utils.text import printable

#: Seconds between two lines of progress if there is no terminal. Training starts with the shorter
#: interval and doubles it after each line.
INTERVAL, FIRST_INTERVAL = 30.0, 2.0


class Terminal(Console):
    """A console that shows text unchanged: no markup, no emoji, control characters as escapes.

    Messages, tables and progress bars can therefore contain names from files without escaping them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make text printable before the layout, which counts characters."""
        return super().render_str(printable(text, keep="\n"), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Make all text printable, also that of renderables such as tables."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n"))


console = Terminal()
errors = Terminal(stderr=True)


def echo(text: object, *, style: str | None = None) -> None:
    """Print text to standard output, without wrapping long lines."""
    console.print(str(text), style=style, soft_wrap=True)


def echo_message(text: str, *, style: str | None = None) -> None:
    """Print a message to standard error, with the parameters in it as flags."""
    errors.print(with_flags(text), style=style, soft_wrap=True)


def command_line(*words: object) -> str:
    """Return a pgen command as a user types it."""
    return "pgen " + shlex.join(map(str, words))


def print_next_steps(*steps: Iterable[object] | str) -> None:
    """Print what to do next.

    Args:
        *steps: Each the words of a pgen command, or a phrase.
    """
    echo(f"Next: {', or '.join(step if isinstance(step, str) else command_line(*step) for step in steps)}")


class ProgressBar:
    """Progress of one task, or of several in turn.

    In a terminal it is a bar. Otherwise it is a line at every interval, and at the start of a task
    that has a new title.
    """

    def __init__(self, bars: Any, title: str) -> None:
        self._bars, self._title = bars, title
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
            if not errors.is_terminal:
                errors.print(title)
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
        if errors.is_terminal:
            self._bars.update(self._task, description=title, completed=done, total=total, details=details)
        elif force or time.monotonic() - self._last_line >= interval:
            self._last_line = time.monotonic()
            errors.print(f"{title}  {done / max(total, 1e-9):4.0%}  {details}", soft_wrap=True)
            return True
        return False


@contextmanager
def progress_bar(title: str = "") -> Iterator[ProgressBar]:
    """Show a :class:`ProgressBar` during the block."""
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
    with Bars(*columns, console=errors, disable=not errors.is_terminal, expand=True) as bars:
        yield ProgressBar(bars, title)


class TerminalProgress(Progress):
    """Shows the progress of training, deploying and sampling in the terminal."""

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


class _LogHandler(logging.Handler):
    """Prints the messages of the library."""

    def emit(self, record: logging.LogRecord) -> None:
        echo_message(("warning: " if record.levelno >= logging.WARNING else "") + record.getMessage())


@contextmanager
def print_log(*, silent: bool = False) -> Iterator[None]:
    """Print messages of the "pgen" logger during the block, or discard them if ``silent``."""
    logger, handler = logging.getLogger("pgen"), logging.NullHandler() if silent else _LogHandler()
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def show_progress(title: str, *, silent: bool = False) -> Iterator[Progress]:
    """Show progress and log messages of the library during the block.

    Args:
        title: Text in front of the progress bar.
        silent: Show nothing.

    Yields:
        What the library reports its progress to.
    """
    with print_log(silent=silent):
        if silent:
            yield Progress()
        else:
            with progress_bar(title) as bar:
                yield TerminalProgress(bar)
