"""Entry points of installed packages: which there are, what one offers, and how to tell what is wrong with it."""

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

from pgen.errors import PgenError, Stopped

T = TypeVar("T")

#: Groups of entry points.
MODELS, METRICS, LOGGERS, SOURCES, SCALES = GROUPS = "pgen.models", "pgen.metrics", "pgen.loggers", "pgen.sources", "pgen.scales"


@dataclass(frozen=True)
class Entry:
    """One installed plug-in, known from package metadata alone: nothing has been imported."""

    name: str
    distribution: str
    version: str
    point: EntryPoint

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def summary(self) -> str:
        """What the package says of itself in a line."""
        return (self.point.dist.metadata["Summary"] or "") if self.point.dist else ""

    @property
    def package(self) -> str:
        """The importable package that it lies in."""
        return self.point.module.partition(".")[0]

    @property
    def is_builtin(self) -> bool:
        """Whether it is part of pgen."""
        return self.package == "pgen"

    @property
    def is_editable_install(self) -> bool:
        """Whether it was installed from a folder that may be edited: whoever sees its errors is likely its author."""
        url = self.point.dist.read_text("direct_url.json") if self.point.dist else None
        return bool(url and json.loads(url).get("dir_info", {}).get("editable"))


def entries(group: str) -> list[Entry]:
    """Every installed plug-in of a group, built-ins first, then by name."""
    found: dict[tuple[str, str], Entry] = {}
    for point in entry_points(group=group):
        distribution = point.dist.name if point.dist else "unknown"
        # One distribution can be seen twice (an installed copy and its source folder); the first on the path counts.
        found.setdefault((point.name, distribution), Entry(point.name, distribution, point.dist.version if point.dist else "?", point))
    return sorted(found.values(), key=lambda entry: (not entry.is_builtin, entry.name))


def names(group: str) -> list[str]:
    """What can be named of a group, each once."""
    return list(dict.fromkeys(entry.name for entry in entries(group)))


def misnamed_groups(name: str) -> str:
    """Who offers ``name`` in a group that pgen does not know, as one that was misspelt; empty where nobody does."""
    for point in entry_points(name=name):
        if point.group.startswith("pgen") and point.group not in GROUPS:
            package = point.dist.name if point.dist else "a package"
            return f"{package} offers it in the group {point.group!r}, wanted one of {', '.join(GROUPS)}"
    return ""


def only(group: str, name: str) -> Entry | None:
    """The plug-in called ``name``. UserError where two packages offer it."""
    offers = [entry for entry in entries(group) if entry.name == name]
    if len(offers) > 1:
        both = " and ".join(entry.origin for entry in offers)
        raise PgenError(f"{name!r} of {group} is offered by {both}; uninstall one of them.")
    return offers[0] if offers else None


def subclass(entry: Entry, base: type[T]) -> type[T]:
    """The class that an entry point names. UserError where it is none of ``base``."""
    found = imported(entry)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise plugin_error(entry, f"it offers {found!r}, wanted a subclass of {base.__module__}.{base.__name__}")
    return found


def instance(entry: Entry, kind: type[T]) -> T:
    """The object that an entry point names. UserError where it is none of ``kind``."""
    found = imported(entry)
    if not isinstance(found, kind):
        raise plugin_error(entry, f"it offers {found!r}, wanted a {kind.__module__}.{kind.__name__}")
    return found


def imported(entry: Entry) -> Any:
    """What an entry point names. UserError where it does not load."""
    with contained(entry, f"its entry point {entry.point.value!r} does not load"):
        return entry.point.load()


#: What ends a command whoever's code is running. Everything else that a plug-in raises is its own fault.
NOT_A_FAULT = (PgenError, KeyboardInterrupt, Stopped)


@contextmanager
def contained(entry: Entry, failure: str) -> Iterator[None]:
    """A block that imports a plug-in's code, which must not end pgen or move it elsewhere.

    Raises:
        UserError: the block raised anything, ``SystemExit`` too, or changed the working folder, which is put right. It names the plug-in,
            and ``failure`` says what did not succeed. What the plug-in prints goes to standard error: standard output may be read by a
            program.
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
    """None where it has been removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


@contextmanager
def without_torch(entry: Entry, target: str) -> Iterator[None]:
    """A block that must not import torch: UserError where it is the first to do so."""
    had_torch = "torch" in sys.modules
    yield
    if not had_torch and "torch" in sys.modules:
        raise plugin_error(entry, f"importing {target!r} imports torch; move that into the module named by its spec")


class BrokenPlugin(PgenError):
    """A plug-in that does not keep to what pgen asks of it."""


def plugin_error(entry: Entry, cause: str) -> BrokenPlugin:
    way = f"Update or uninstall {entry.distribution}"
    if entry.is_editable_install:
        way = "Mend it; after a change of its pyproject.toml, install it again with pip install -e"
    return BrokenPlugin(f"Plug-in {entry.name!r} of {entry.origin} is broken: {cause}. {way}.")


def cause(error: BaseException, package: str = "") -> str:
    """Type and message of an error, with the last line that raised it in ``package``, or else in code that is neither pgen's nor of
    Python's import system."""
    lines = [(frame.f_globals.get("__name__") or "", frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    foreign = [line for line in lines if line[0].partition(".")[0] not in ("pgen", "importlib") and not line[1].startswith("<")]
    own = [line for line in foreign if line[0].partition(".")[0] == package]
    where = "".join(f" ({path}:{number})" for _, path, number in (own or foreign)[-1:])
    return f"{type(error).__name__}: {error}{where}".replace("\n", " ")


def attribute_error_to_plugin(error: BaseException) -> PgenError | None:
    """The error told as the fault of the plug-in whose code was the last to run before it, by name (where its package offers but one),
    version and line; None where no plug-in but pgen's own took part."""
    packages: dict[str, list[Entry]] = {}
    for entry in (entry for group in GROUPS for entry in entries(group)):
        if entry.distribution != "pgen":
            packages.setdefault(entry.package, []).append(entry)
    found = None
    for frame, line in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in packages:
            found = packages[package], f"{frame.f_code.co_filename}:{line}, in {frame.f_code.co_name}"
    if found is None:
        return None
    offers, where = found
    which = f"{offers[0].name!r} of {offers[0].origin}" if len(offers) == 1 else offers[0].origin
    way = "Mend it" if offers[0].is_editable_install else "Tell its authors, or update it"
    told = f"{type(error).__name__}: {error}".replace("\n", " ")
    return PgenError(f"Plug-in {which} failed: {told} ({where}). {way}; --debug shows the traceback.")
