"""Entry points of installed packages: list them, load one, and report what is wrong with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from pgen.errors import PgenError, PluginError, Stopped

T = TypeVar("T")

#: Groups of entry points.
#: Name of the distribution that installs the package pgen.
DISTRIBUTION = "pgen-lartpc"
MODELS, METRICS, LOGGERS, SOURCES, SCALES = GROUPS = "pgen.models", "pgen.metrics", "pgen.loggers", "pgen.sources", "pgen.scales"


@dataclass(frozen=True)
class Entry:
    """An installed plug-in, known from package metadata only: nothing has been imported.

    Attributes:
        name: The entry point's name.
        distribution: The package that provides it.
        version: The package's version.
        point: The entry point.
    """

    name: str
    distribution: str
    version: str
    point: EntryPoint

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f"{self.distribution} {self.version}"

    @property
    def summary(self) -> str:
        """The package's one-line description."""
        return (self.point.dist.metadata["Summary"] or "") if self.point.dist else ""

    @property
    def package(self) -> str:
        """The importable package that it is in."""
        return self.point.module.partition(".")[0]

    @property
    def is_builtin(self) -> bool:
        """Whether it is part of pgen."""
        return self.package == "pgen"

    @property
    def is_editable_install(self) -> bool:
        """Whether it was installed with ``pip install -e``, most likely by its author."""
        url = self.point.dist.read_text("direct_url.json") if self.point.dist else None
        return bool(url and json.loads(url).get("dir_info", {}).get("editable"))


def entries(group: str) -> list[Entry]:
    """List the installed plug-ins of a group, built-ins first, then by name."""
    unique: dict[tuple[str, str], Entry] = {}
    for point in entry_points(group=group):
        distribution = point.dist.name if point.dist else "unknown"
        entry = Entry(point.name, distribution, point.dist.version if point.dist else "?", point)
        if entry.is_builtin and distribution != DISTRIBUTION:
            continue  # left by an installation under pgen's former name
        # A distribution can appear twice (installed copy and source folder): the first one counts.
        unique.setdefault((point.name, distribution), entry)
    return sorted(unique.values(), key=lambda entry: (not entry.is_builtin, entry.name))


def names(group: str) -> list[str]:
    """List the names of a group, each once."""
    return list(dict.fromkeys(entry.name for entry in entries(group)))


def misnamed_groups(name: str) -> str:
    """Report who offers ``name`` in a group that pgen does not know, such as a misspelt one.

    Returns:
        An empty string if there is none.
    """
    for point in entry_points(name=name):
        if point.group.startswith("pgen") and point.group not in GROUPS:
            package = point.dist.name if point.dist else "a package"
            return f"{package} offers it in the group {point.group!r}, expected one of {', '.join(GROUPS)}"
    return ""


def find_entry(group: str, name: str) -> Entry | None:
    """Find the plug-in called ``name``.

    Raises:
        PluginError: Two packages offer it.
    """
    offers = [entry for entry in entries(group) if entry.name == name]
    if len(offers) > 1:
        both = " and ".join(entry.origin for entry in offers)
        raise PluginError(f"{name!r} of {group} is offered by {both}; uninstall one of them.")
    return offers[0] if offers else None


def load_class(entry: Entry, base: type[T]) -> type[T]:
    """Load the class that an entry point names.

    Raises:
        PluginError: It does not load, or is no subclass of ``base``.
    """
    value = load_entry(entry)
    if not (isinstance(value, type) and issubclass(value, base)):
        raise plugin_error(entry, f"it offers {value!r}, expected a subclass of {base.__module__}.{base.__name__}")
    return value


def load_instance(entry: Entry, kind: type[T]) -> T:
    """Load the object that an entry point names.

    Raises:
        PluginError: It does not load, or is no ``kind``.
    """
    value = load_entry(entry)
    if not isinstance(value, kind):
        raise plugin_error(entry, f"it offers {value!r}, expected a {kind.__module__}.{kind.__name__}")
    return value


def load_entry(entry: Entry) -> Any:
    """Load what an entry point names.

    Raises:
        PluginError: It does not load.
    """
    with guard_import(entry, f"its entry point {entry.point.value!r} does not load"):
        return entry.point.load()


#: Errors that are not the fault of the plug-in whose code raises them.
NOT_A_FAULT = (PgenError, KeyboardInterrupt, Stopped)


@contextmanager
def guard_import(entry: Entry, failure: str) -> Iterator[None]:
    """Guard the import of a plug-in's code, which must not end pgen or change its folder.

    What the plug-in prints goes to standard error, since a program may read standard output.

    Args:
        entry: The plug-in.
        failure: What did not succeed, for the message.

    Raises:
        PluginError: The block raised anything, including ``SystemExit``, or changed the working
            folder, which is then restored.
    """
    folder = _working_folder()
    try:
        with redirect_stdout(sys.stderr):
            yield
    except NOT_A_FAULT:
        raise
    except BaseException as error:
        raise plugin_error(entry, f"{failure}: {cause(error, entry.package)}") from error
    finally:
        moved = folder is not None and _working_folder() != folder
        if moved:
            os.chdir(folder)  # type: ignore[arg-type]
    if moved:
        raise plugin_error(entry, f"{failure}: its import changes the working folder, in which relative paths are looked up")


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been removed
        return None


@contextmanager
def forbid_torch_import(entry: Entry, target: str) -> Iterator[None]:
    """Context manager that must not be the first to import torch, while ``target`` is imported.

    Raises:
        PluginError: It was.
    """
    had_torch = "torch" in sys.modules
    yield
    if not had_torch and "torch" in sys.modules:
        raise plugin_error(entry, f"importing {target!r} imports torch; move that into the module named by its spec")


def plugin_error(entry: Entry, cause: str) -> PluginError:
    """Create the error for a broken plug-in, with its cause and what to do."""
    advice = f"Update or uninstall {entry.distribution}"
    if entry.is_editable_install:
        advice = "Fix it; after a change of its pyproject.toml, install it again with pip install -e"
    return PluginError(f"Plug-in {entry.name!r} of {entry.origin} is broken: {cause}. {advice}.")


def cause(error: BaseException, package: str = "") -> str:
    """Describe an error by its type, message and the line that raised it.

    The line is the last one in ``package``, or else in code that belongs neither to pgen nor to
    Python's import system.
    """
    lines = [(frame.f_globals.get("__name__") or "", frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    foreign = [line for line in lines if line[0].partition(".")[0] not in ("pgen", "importlib") and not line[1].startswith("<")]
    own = [line for line in foreign if line[0].partition(".")[0] == package]
    where = "".join(f" ({path}:{number})" for _, path, number in (own or foreign)[-1:])
    return f"{type(error).__name__}: {error}{where}".replace("\n", " ")


def attribute_error_to_plugin(error: BaseException) -> PluginError | None:
    """Attribute an error to the plug-in whose code ran last before it.

    Returns: An error that names the plug-in (or only its package, if that offers several), its
        version and the line; None if no third-party plug-in was involved.
    """
    packages: dict[str, list[Entry]] = {}
    for entry in (entry for group in GROUPS for entry in entries(group)):
        if not entry.is_builtin:
            packages.setdefault(entry.package, []).append(entry)
    culprit = None
    for frame, line in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in packages:
            culprit = packages[package], f"{frame.f_code.co_filename}:{line}, in {frame.f_code.co_name}"
    if culprit is None:
        return None
    offers, where = culprit
    which = f"{offers[0].name!r} of {offers[0].origin}" if len(offers) == 1 else offers[0].origin
    advice = "Fix it" if offers[0].is_editable_install else "Report it to its authors, or update it"
    message = f"{type(error).__name__}: {error}".replace("\n", " ")
    return PluginError(f"Plug-in {which} failed: {message} ({where}). {advice}; `debug` shows the traceback.")
