"""Where metrics and pictures of training go besides the run folder: TensorBoard, or what a plug-in offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pgen.errors import PgenError, Stopped
from pgen.plugins.entry_points import LOGGERS, cause, find_entry, load_class, names

if TYPE_CHECKING:
    from pgen.engine.run import Run

T = TypeVar("T")


class Logger:
    """Base of every sink. A package offers one by an entry point in the group ``pgen.loggers``, whose name is what ``--log-to`` is given::

        [project.entry-points."pgen.loggers"]
        printer = "pgen_printer:Printer"

    with, in ``pgen_printer.py``::

        from pgen.engine.monitoring.loggers import Sink

        class Printer(Sink):
            def scalars(self, step, values):
                print(step, values)
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Open for the run in ``folder``, which goes on from ``step``: what was logged after it will come again."""

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        """Metrics by name after ``step`` steps, as in metrics.jsonl."""

    def log_image(self, step: int, name: str, path: Path) -> None:
        """A PNG file that was drawn after ``step`` steps."""

    def close(self) -> None:
        """Nothing more will come."""


def logger_classes(wanted: str | None) -> list[type[Logger]]:
    """The sinks of ``--log-to``. UserError for one that is not installed, or does not load."""
    classes = []
    for name in [] if wanted is None else wanted.split(","):
        entry = find_entry(LOGGERS, name)
        if entry is None:
            raise PgenError(f"--log-to {name}: no such sink; installed: {', '.join(names(LOGGERS))}. Give one of these, or leave it out.")
        try:
            classes.append(load_class(entry, Logger))
        except PgenError as error:
            if not isinstance(lacking := error.__cause__, ModuleNotFoundError) or entry.distribution != "pgen":
                raise
            raise PgenError(f"--log-to {name} needs the package {lacking.name}; pip install 'pgen[{name}]', or leave it out.") from error
    return classes


@contextmanager
def opened_sinks(run: Run, step: int) -> Iterator[None]:
    """The run's sinks, open on the first rank until the block ends."""
    try:
        if run.ranks.rank == 0:
            names = (run.settings.log_to or "").split(",")
            for name, sink in zip(names, logger_classes(run.settings.log_to), strict=False):
                run.sinks.append(_Contained(name, run.log, partial(sink, run.folder.path, step)))
        yield
    finally:
        while run.sinks:
            run.sinks.pop().close()


class _Contained(Logger):
    """A sink that cannot end training: after its first error, which is logged, it gets no more calls."""

    def __init__(self, name: str, say: Callable[[str], None], open_sink: Callable[[], Logger]) -> None:
        self._name, self._say = name, say
        self._sink: Logger | None = None
        self._sink = self._attempt(open_sink)

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        if self._sink is not None:
            self._attempt(partial(self._sink.log_scalars, step, dict(values)))

    def log_image(self, step: int, name: str, path: Path) -> None:
        if self._sink is not None:
            self._attempt(partial(self._sink.log_image, step, name, path))

    def close(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            self._attempt(sink.close)

    def _attempt(self, act: Callable[[], T]) -> T | None:
        try:
            return act()
        except (KeyboardInterrupt, Stopped):
            raise
        except BaseException as error:
            self._sink = None
            self._say(f"warning: --log-to {self._name} failed ({cause(error)}); training continues without it")
            return None
