"""Output to the terminal: text, hints on the next command, and a progress bar."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from pgen.cli.error_messages import with_flags
from pgen.engine.runtime.progress import Progress
from pgen.engine.runtime.rich_progress import ProgressBar, RichProgress
from pgen.engine.runtime.rich_progress import progress_bar as bar_on
from pgen.utils.text import printable


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


def progress_bar(title: str = "") -> AbstractContextManager[ProgressBar]:
    """Show a progress bar on standard error during a block."""
    return bar_on(errors, title)


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
                yield RichProgress(bar)
