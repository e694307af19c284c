"""The terminal: two consoles, and progress bars that are quiet where there is no terminal."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pgen.errors import option_name
from pgen.utils.text import printable

if TYPE_CHECKING:
    from pgen.engine.runtime.progress import Progress, TrainingStatus


class Terminal(Console):
    """A console that shows text as it is: no markup, no emoji, control characters as escapes.

    Names from files reach it in messages, tables and progress bars, none of which has to escape them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        # Before the layout, which counts characters.
        return super().render_str(printable(text, keep="\n"), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n"))


def with_flags(message: str) -> str:
    """Write the parameters in a message of the library, `name` or `name=value`, as they are typed: --name value."""

    def flag(match: re.Match[str]) -> str:
        name, value = option_name(match[1]), match[2]
        return name if value is None else f"{name} {value}"

    return re.sub("`(?!pgen`)([a-z][a-z0-9_]*)(?:=([^`]*))?`", flag, message)


console = Terminal()
errors = Terminal(stderr=True)


def command_line(*words: object) -> str:
    """A command of pgen as it is to be typed."""
    return "pgen " + shlex.join(map(str, words))


def follow(*commands: Iterable[object] | str) -> None:
    """The line that ends a command: what to do next, each a command's words, or another thing in a sentence."""
    told = (each if isinstance(each, str) else command_line(*each) for each in commands)
    console.print(printable(f"Next: {', or '.join(told)}"), soft_wrap=True)


#: Seconds between two lines of progress where there is no terminal; of training after the first line, twice as many after each.
QUIET_EVERY, FIRST_PAUSE = 30.0, 2.0


@contextmanager
def task_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A callback ``tick(what, done, total)`` that draws a bar for tasks of different kinds, one after the other."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bars:
        task, last = bars.add_task("", total=None), ""

        def tick(what: str, done: int, total: int) -> None:
            nonlocal last
            bars.update(task, description=printable(what), completed=done, total=total)
            if not errors.is_terminal and what != last:
                errors.print(printable(what))
            last = what

        yield tick


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A callback ``tick(done, total)`` that draws a bar with rate and ETA."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if not errors.is_terminal:
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > QUIET_EVERY:
                last = time.monotonic()
                errors.print(f"{title}: {done} of {total}", highlight=False)

        yield line
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bars:
        task, began = bars.add_task(title, total=None, rate=""), time.monotonic()

        def tick(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, rate=f"{done / max(1e-9, time.monotonic() - began):.0f}/s")

        yield tick


class _ConsoleHandler(logging.Handler):
    """Prints the messages of the library, with parameters as flags."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        errors.print(with_flags(prefix + record.getMessage()), soft_wrap=True)


@contextmanager
def print_log(*, silent: bool = False) -> Iterator[None]:
    """Print messages of the "pgen" logger until the block ends."""
    logger, handler = logging.getLogger("pgen"), logging.NullHandler() if silent else _ConsoleHandler()
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
def training_progress(*, silent: bool = False) -> Iterator[Progress]:
    """Show training: epoch, step, losses, rate, ETA and GPU memory in one line, and its log messages; nothing if ``silent``."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column

    from pgen.engine.runtime.progress import Progress

    if silent:
        with print_log(silent=True):
            yield Progress()
        return
    terminal = errors.is_terminal
    columns = (
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(12),
        TextColumn("{task.percentage:3.0f} %", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # What does not fit into the terminal is cut here.
        TextColumn("{task.fields[more]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with Bars(*columns, console=errors, disable=not terminal, expand=True) as bars, print_log():
        task = bars.add_task("starting", total=1.0, more="")

        class TrainingProgress(Progress):
            pause, due = FIRST_PAUSE, 0.0

            def training(self, status: TrainingStatus) -> None:
                if terminal:
                    bars.update(task, completed=status.fraction, description=_position(status), more=_values(status))
                elif time.monotonic() >= self.due or status.is_last:
                    self.due, self.pause = time.monotonic() + self.pause, min(QUIET_EVERY, 2 * self.pause)
                    errors.print(f"{_position(status)}  {status.fraction:4.0%}  {_values(status)}", soft_wrap=True)

        yield TrainingProgress()


def _position(status: TrainingStatus) -> str:
    return f"epoch {status.epoch}/{status.num_epochs}  step {status.step}"


def _values(status: TrainingStatus) -> str:
    """Rate, memory and losses, the losses last, since there may be many."""
    memory = [] if status.memory is None else [f"{status.memory / 2**30:.1f} GiB"]
    losses = [f"{name} {value:.4g}" for name, value in status.metrics.items()]
    return "  ".join([f"{status.rate:.0f} img/s", *memory, *losses])


@contextmanager
def image_progress(title: str) -> Iterator[Progress]:
    """Show a bar of images done, and log messages."""
    from pgen.engine.runtime.progress import Progress

    with progress_bar(title) as bar, print_log():

        class ImageProgress(Progress):
            def images(self, done: int, total: int) -> None:
                bar(done, total)

        yield ImageProgress()
