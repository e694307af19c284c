"""Finding plug-ins by entry point, loading only the one that was named, and telling what is wrong with a broken one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from pydantic import ValidationError

from pgen.errors import UserError, problems
from pgen.plugins import hookspecs
from pgen.plugins.contract import MetricSpec, ModelConfig, ModelSpec

MODELS, METRICS, SINKS = "pgen.models", "pgen.metrics", "pgen.sinks"  #: groups of entry points


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


@dataclass(frozen=True)
class Status:
    """One line of ``pgen models``: ``summary`` is empty and ``problem`` says why where the plug-in is broken."""

    name: str
    distribution: str
    version: str
    summary: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Plugin:
    """A loaded plug-in: its spec, and a pluggy manager that holds its hooks and no other plug-in's."""

    entry: Entry
    spec: ModelSpec
    manager: pluggy.PluginManager

    def config_class(self) -> type[ModelConfig]:
        """The class of the model's options; importing it must not import torch."""
        with _without_torch(self.entry, self.spec.config):
            found = self._import(self.spec.config)
        if not (isinstance(found, type) and issubclass(found, ModelConfig)):
            raise self._broken(f"config {self.spec.config!r} is {found!r}, wanted a subclass of pgen.ModelConfig")
        return found

    def options(self, values: Any, source: object) -> ModelConfig:
        """Options as the file ``source`` keeps them. UserError where this version of the plug-in does not take them."""
        try:
            return self.config_class().model_validate(values)
        except ValidationError as error:
            reason = "; ".join(problems(error))
            raise UserError(
                f"{source} does not fit the installed {self.entry.origin}: {reason}. Install the version it came from."
            ) from error

    def model_class(self) -> type:
        """The torch module's class."""
        found = self._import(self.spec.model)
        wanted = ("optimizers", "training_step")
        missing = [name for name in wanted if not callable(getattr(found, name, None))]
        if missing:
            raise self._broken(f"model {self.spec.model!r} lacks {', '.join(missing)}")
        return found

    def check(self) -> None:
        """UserError where options or model are not where the spec says. Imports no torch: the model's module is only looked for."""
        self.config_class()
        module = self.spec.model.partition(":")[0]
        try:
            found = importlib.util.find_spec(module)
        except Exception as error:
            raise self._broken(f"{module!r} does not import: {cause(error)}") from error
        if found is None:
            raise self._broken(f"there is no module {module!r}, which model {self.spec.model!r} names")

    def _import(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise self._broken(f"{target!r} does not import: {cause(error)}") from error

    def _broken(self, cause: str) -> UserError:
        return broken(self.entry, cause)


def entries(group: str = MODELS) -> list[Entry]:
    """Every installed plug-in of a group, built-ins first, then by name."""
    found: dict[tuple[str, str], Entry] = {}
    for point in entry_points(group=group):
        distribution = point.dist.name if point.dist else "unknown"
        # One distribution can be seen twice (an installed copy and its source folder); the first on the path counts.
        found.setdefault((point.name, distribution), Entry(point.name, distribution, point.dist.version if point.dist else "?", point))
    return sorted(found.values(), key=lambda entry: (entry.distribution != "pgen", entry.name))


def names() -> list[str]:
    """The names that ``pgen train`` knows, each once."""
    return list(dict.fromkeys(entry.name for entry in entries()))


def load(name: str) -> Plugin:
    """Import the plug-in called ``name``, and no other.

    UserError: no such model (with the nearest names), one name from two distributions, or a plug-in that does not load.
    """
    offers = [entry for entry in entries() if entry.name == name]
    if not offers:
        known = names()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Installed: {', '.join(known) or 'none'}."
        raise UserError(f"There is no model called {name!r}. {hint} `pgen models` lists all.")
    if len(offers) > 1:
        both = " and ".join(entry.origin for entry in offers)
        raise UserError(f"Model {name!r} is offered by {both}; uninstall one of them.")
    return _load(offers[0])


def listing() -> list[Status]:
    """Every model with its summary, or the cause why it does not load."""
    lines = []
    for entry in entries():
        try:
            plugin = load(entry.name)
            plugin.check()
            lines.append(Status(entry.name, entry.distribution, entry.version, summary=plugin.spec.summary))
        except UserError as error:
            lines.append(Status(entry.name, entry.distribution, entry.version, problem=str(error)))
    return lines


def metrics() -> tuple[dict[str, tuple[Entry, MetricSpec]], list[str]]:
    """Every installed metric by its name, and what is wrong with plug-ins that do not load."""
    found: dict[str, tuple[Entry, MetricSpec]] = {}
    problems: list[str] = []
    for entry in entries(METRICS):
        try:
            _, answers = _ask(entry, "pgen_metrics")
            specs = [spec for answer in answers for spec in answer]
            if wrong := [spec for spec in specs if not isinstance(spec, MetricSpec)]:
                raise broken(entry, f"its pgen_metrics hook returned {wrong[0]!r}, wanted pgen.MetricSpec")
            if double := [spec.name for spec in specs if spec.name in found]:
                other = found[double[0]][0]
                raise broken(entry, f"the metric {double[0]!r} is offered by {other.origin} already")
            found.update({spec.name: (entry, spec) for spec in specs})
        except UserError as error:
            problems.append(str(error))
    return found, problems


def _load(entry: Entry) -> Plugin:
    manager, spec = _ask(entry, "pgen_model")
    if not isinstance(spec, ModelSpec):
        raise broken(entry, f"its pgen_model hook returned {spec!r}, wanted a pgen.ModelSpec")
    if spec.name != entry.name:
        raise broken(entry, f"its entry point is called {entry.name!r} but its spec says {spec.name!r}")
    return Plugin(entry, spec, manager)


def _ask(entry: Entry, hook: str) -> tuple[pluggy.PluginManager, Any]:
    """A manager that holds this plug-in alone, and what it answers. UserError where it does not load."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        with _without_torch(entry, entry.point.value):
            manager.register(entry.point.load(), name=entry.name)
            manager.check_pending()
            return manager, getattr(manager.hook, hook)()
    except UserError:
        raise
    except Exception as error:
        raise broken(entry, cause(error)) from error


@contextmanager
def _without_torch(entry: Entry, target: str) -> Iterator[None]:
    had_torch = "torch" in sys.modules
    yield
    if not had_torch and "torch" in sys.modules:
        raise broken(entry, f"importing {target!r} imports torch; move that into the module named by its spec")


def broken(entry: Entry, cause: str) -> UserError:
    return UserError(f"Plug-in {entry.name!r} of {entry.origin} is broken: {cause}. Update or uninstall {entry.distribution}.")


def cause(error: BaseException) -> str:
    """Type and message of an error, with the last line of code that raised it."""
    trace = error.__traceback__
    where = ""
    while trace is not None:
        where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{where}".replace("\n", " ")
