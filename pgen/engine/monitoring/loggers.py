"""Loggers, to which metrics and preview images go: TensorBoard, or those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pgen.errors import ConfigError, PgenError, Stopped, option
from pgen.plugins.entry_points import LOGGERS, cause, find_entry, load_class, names

T = TypeVar("T")


class Logger:
    """Base class of loggers.

    A package offers one by an entry point in the group ``pgen.loggers``, whose name `log_to` is
    given.

    Args:
        folder: The run directory.
        step: The step from which training resumes: what was logged after it comes again.

    Example:
        In ``pyproject.toml``::

            [project.entry-points."pgen.loggers"]
            printer = "pgen_printer:Printer"

        In ``pgen_printer.py``::

            from pgen.engine.monitoring.loggers import Logger

            class Printer(Logger):
                def log_scalars(self, step, values):
                    print(step, values)
    """

    def __init__(self, folder: Path, step: int) -> None: ...

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        """Log metrics by name after ``step`` steps, as in metrics.jsonl."""

    def log_image(self, step: int, name: str, path: Path) -> None:
        """Log a PNG file that was drawn after ``step`` steps."""

    def close(self) -> None:
        """Close the logger."""


def logger_classes(log_to: str | None) -> list[type[Logger]]:
    """Load the logger classes of `log_to`.

    Raises:
        ConfigError: One is not installed.
        PluginError: One cannot be loaded.
    """
    classes = []
    for name in [] if log_to is None else log_to.split(","):
        entry = find_entry(LOGGERS, name)
        if entry is None:
            installed = ", ".join(names(LOGGERS))
            raise ConfigError(f"{option('log_to', name)}: no such logger; installed: {installed}. Give one of these, or leave it out.")
        try:
            classes.append(load_class(entry, Logger))
        except PgenError as error:
            if not isinstance(missing := error.__cause__, ModuleNotFoundError) or entry.package != "pgen":
                raise
            raise ConfigError(
                f"{option('log_to', name)} needs the package {missing.name}; pip install 'pgen-lartpc[{name}]', or leave it out."
            ) from error
    return classes


@contextmanager
def open_loggers(log_to: str | None, folder: Path, step: int, log: Callable[[str], None]) -> Iterator[list[Logger]]:
    """Open the loggers of `log_to` until the block ends.

    Args:
        log_to: Their names, separated by commas; None for none.
        folder: The run directory.
        step: The step from which training resumes.
        log: Logs a line when one fails, which does not end training.
    """
    loggers: list[Logger] = []
    try:
        for name, logger_class in zip((log_to or "").split(","), logger_classes(log_to), strict=False):
            loggers.append(_ContainedLogger(name, log, partial(logger_class, folder, step)))
        yield loggers
    finally:
        while loggers:
            loggers.pop().close()


class _ContainedLogger(Logger):
    """A logger that cannot end training: its first error is logged and disables it."""

    def __init__(self, name: str, log: Callable[[str], None], open_logger: Callable[[], Logger]) -> None:
        self._name, self._log = name, log
        self._logger: Logger | None = None
        self._logger = self._attempt(open_logger)

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        if self._logger is not None:
            self._attempt(partial(self._logger.log_scalars, step, dict(values)))

    def log_image(self, step: int, name: str, path: Path) -> None:
        if self._logger is not None:
            self._attempt(partial(self._logger.log_image, step, name, path))

    def close(self) -> None:
        if self._logger is not None:
            logger, self._logger = self._logger, None
            self._attempt(logger.close)

    def _attempt(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except (KeyboardInterrupt, Stopped):
            raise
        except BaseException as error:
            self._logger = None
            self._log(f"warning: {option('log_to', self._name)} failed ({cause(error)}); training continues without it")
            return None
