"""Finding plug-ins by entry point, loading only the one that was named, and telling what is wrong with a broken one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import pluggy
from pydantic import ValidationError

from pgen.errors import PgenError, validation_messages
from pgen.plugins import hookspecs
from pgen.plugins.entry_points import (
    METRICS,
    MODELS,
    Entry,
    contained,
    entries,
    imported,
    misnamed_groups,
    only,
    plugin_error,
    without_torch,
)
from pgen.plugins.entry_points import names as names_of
from pgen.plugins.specs import API_VERSION, MetricSpec, ModelConfig, ModelSpec

#: Seconds that importing a plug-in's options may take before it is told: they come on top of every command that asks for them.
SLOW = 0.5


@dataclass(frozen=True)
class Status:
    """One line of ``pgen models``: ``summary`` is empty and ``problem`` says why where the plug-in is broken, or what is wrong with it."""

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
        with without_torch(self.entry, self.spec.config):
            found = self._import(self.spec.config)
        if not (isinstance(found, type) and issubclass(found, ModelConfig)):
            raise self._broken(f"config {self.spec.config!r} is {found!r}, wanted a subclass of pgen.ModelConfig")
        return found

    def options(self, values: Any, source: object) -> ModelConfig:
        """Options as the file ``source`` keeps them. UserError where this version of the plug-in does not take them."""
        try:
            return self.config_class().model_validate(values)
        except ValidationError as error:
            reason = "; ".join(validation_messages(error))
            raise PgenError(
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
        with contained(self.entry, f"{module!r} does not import"):
            found = importlib.util.find_spec(module)
        if found is None:
            raise self._broken(f"there is no module {module!r}, which model {self.spec.model!r} names")

    def _import(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        with contained(self.entry, f"{target!r} does not import"):
            return getattr(importlib.import_module(module), attribute)

    def _broken(self, cause: str) -> PgenError:
        return plugin_error(self.entry, cause)


def names() -> list[str]:
    """The names that ``pgen train`` knows, each once."""
    return names_of(MODELS)


def load(name: str) -> Plugin:
    """Import the plug-in called ``name``, and no other.

    UserError: no such model (with the nearest names), one name from two distributions, or a plug-in that does not load.
    """
    entry = only(MODELS, name)
    if entry is None:
        if stray := misnamed_groups(name):
            raise PgenError(f"There is no model called {name!r}: {stray}.")
        known = names()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Installed: {', '.join(known) or 'none'}."
        raise PgenError(f"There is no model called {name!r}. {hint} `pgen models` lists all.")
    return _load(entry)


def listing() -> list[Status]:
    """Every model with its summary, or the cause why it does not load."""
    lines = []
    for entry in entries(MODELS):
        try:
            began = time.perf_counter()
            plugin = load(entry.name)
            plugin.check()
            slow = _slow(entry, time.perf_counter() - began)
            lines.append(Status(entry.name, entry.distribution, entry.version, summary=plugin.spec.summary, problem=slow))
        except PgenError as error:
            lines.append(Status(entry.name, entry.distribution, entry.version, problem=str(error)))
    return lines


def metrics() -> tuple[dict[str, tuple[Entry, MetricSpec]], list[str]]:
    """Every installed metric by its name, and what is wrong with plug-ins that do not load."""
    found: dict[str, tuple[Entry, MetricSpec]] = {}
    validation_messages: list[str] = []
    for entry in entries(METRICS):
        try:
            began = time.perf_counter()
            manager, answers = _ask(entry, "pgen_metrics")
            if not manager.hook.pgen_metrics.get_hookimpls():
                raise plugin_error(
                    entry, f"its entry point {entry.point.value!r} has no hook pgen_metrics; wanted the module that holds it"
                )
            if slow := _slow(entry, time.perf_counter() - began):
                validation_messages.append(slow)
            specs = [spec for answer in answers for spec in answer]
            if wrong := [spec for spec in specs if not isinstance(spec, MetricSpec)]:
                raise plugin_error(entry, f"its pgen_metrics hook returned {wrong[0]!r}, wanted pgen.MetricSpec")
            for spec in specs:
                _check_version(entry, spec)
            if double := [spec.name for spec in specs if spec.name in found]:
                other = found[double[0]][0]
                raise plugin_error(entry, f"the metric {double[0]!r} is offered by {other.origin} already")
            found.update({spec.name: (entry, spec) for spec in specs})
        except PgenError as error:
            validation_messages.append(str(error))
    return found, validation_messages


def _load(entry: Entry) -> Plugin:
    manager, spec = _ask(entry, "pgen_model")
    if not isinstance(spec, ModelSpec):
        raise plugin_error(entry, f"its pgen_model hook returned {spec!r}, wanted a pgen.ModelSpec")
    if spec.name != entry.name:
        raise plugin_error(entry, f"its entry point is called {entry.name!r} but its spec says {spec.name!r}")
    _check_version(entry, spec)
    return Plugin(entry, spec, manager)


def _ask(entry: Entry, hook: str) -> tuple[pluggy.PluginManager, Any]:
    """A manager that holds this plug-in alone, and what it answers. UserError where it does not load."""
    with without_torch(entry, entry.point.value):
        module = imported(entry)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        with contained(entry, f"its hook {hook} fails"):
            manager.register(module, name=entry.name)
            manager.check_pending()
            return manager, getattr(manager.hook, hook)()


def _check_version(entry: Entry, spec: ModelSpec | MetricSpec) -> None:
    if spec.api != API_VERSION:
        raise plugin_error(
            entry, f"{spec.name!r} was written for version {spec.api} of pgen's plug-in API, and this pgen has {API_VERSION}"
        )


def _slow(entry: Entry, seconds: float) -> str:
    if entry.distribution == "pgen" or seconds < SLOW:
        return ""
    return f"Plug-in {entry.name!r} of {entry.origin} is slow: to import it takes {seconds:.1f} s; libraries belong where they are used."
