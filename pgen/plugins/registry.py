"""Find plug-ins by entry point, load the one that is named, and report what is wrong with it."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import pluggy
from pydantic import ValidationError

from pgen.errors import PgenError, PluginError, RunError, validation_messages
from pgen.plugins import hookspecs
from pgen.plugins.entry_points import (
    METRICS,
    MODELS,
    Entry,
    entries,
    find_entry,
    forbid_torch_import,
    guard_import,
    load_entry,
    misnamed_groups,
    plugin_error,
)
from pgen.plugins.entry_points import names as names_of
from pgen.plugins.specs import API_VERSION, MetricSpec, ModelConfig, ModelSpec

#: Seconds that the import of a plug-in's options may take without a warning, since commands wait.
SLOW = 0.5


@dataclass(frozen=True)
class Status:
    """One line of ``pgen models``.

    Attributes:
        name: The model's name.
        distribution: The package that provides it.
        version: The package's version.
        summary: The model's summary, empty if the plug-in is broken.
        problem: What is wrong with the plug-in.
    """

    name: str
    distribution: str
    version: str
    summary: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Plugin:
    """A loaded plug-in.

    Attributes:
        entry: Its entry point.
        spec: What its ``pgen_model`` hook returned.
        manager: A pluggy manager with the hooks of this plug-in only.
    """

    entry: Entry
    spec: ModelSpec
    manager: pluggy.PluginManager

    def config_class(self) -> type[ModelConfig]:
        """Import the class of the model's options, which must not import torch.

        Raises:
            PluginError: It does not load, or is no ModelConfig.
        """
        with forbid_torch_import(self.entry, self.spec.config):
            value = self._import(self.spec.config)
        if not (isinstance(value, type) and issubclass(value, ModelConfig)):
            raise self._broken(f"config {self.spec.config!r} is {value!r}, expected a subclass of pgen.ModelConfig")
        return value

    def options(self, values: Any, source: object) -> ModelConfig:
        """Validate options that a file keeps.

        Args:
            values: The options.
            source: The file, for the message.

        Raises:
            RunError: The installed version of the plug-in does not accept them.
        """
        try:
            return self.config_class().model_validate(values)
        except ValidationError as error:
            reason = "; ".join(validation_messages(error))
            raise RunError(
                f"{source} does not fit the installed {self.entry.origin}: {reason}. Install the version it came from."
            ) from error

    def model_class(self) -> Any:
        """Import the class of the torch module.

        Raises:
            PluginError: It does not load, or lacks a method that every model has.
        """
        value = self._import(self.spec.model)
        if missing := [name for name in ("optimizers", "training_step") if not callable(getattr(value, name, None))]:
            raise self._broken(f"model {self.spec.model!r} lacks {', '.join(missing)}")
        return value

    def check(self) -> None:
        """Check that options and model are where the spec says, without importing the model.

        Raises:
            PluginError: One of them is not.
        """
        self.config_class()
        module = self.spec.model.partition(":")[0]
        with guard_import(self.entry, f"{module!r} does not import"):
            is_there = importlib.util.find_spec(module) is not None
        if not is_there:
            raise self._broken(f"there is no module {module!r}, which model {self.spec.model!r} names")

    def _import(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        with guard_import(self.entry, f"{target!r} does not import"):
            return getattr(importlib.import_module(module), attribute)

    def _broken(self, cause: str) -> PluginError:
        return plugin_error(self.entry, cause)


def names() -> list[str]:
    """List the names of all installed models, each once."""
    return names_of(MODELS)


def load(name: str) -> Plugin:
    """Import the plug-in called ``name``, and no other.

    Raises:
        PluginError: There is no such model, two packages offer it, or it does not load.
    """
    entry = find_entry(MODELS, name)
    if entry is None:
        if stray := misnamed_groups(name):
            raise PluginError(f"There is no model called {name!r}: {stray}.")
        installed = names()
        near = difflib.get_close_matches(name, installed, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Installed: {', '.join(installed) or 'none'}."
        raise PluginError(f"There is no model called {name!r}. {hint} `pgen models` lists all.")
    return _load(entry)


def listing() -> list[Status]:
    """List every installed model with its summary, or the reason why it does not load."""
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
    """List every installed metric by name, and what is wrong with plug-ins that do not load."""
    specs_by_name: dict[str, tuple[Entry, MetricSpec]] = {}
    problems: list[str] = []
    for entry in entries(METRICS):
        try:
            began = time.perf_counter()
            manager, answers = _call_hook(entry, "pgen_metrics")
            if not manager.hook.pgen_metrics.get_hookimpls():
                raise plugin_error(
                    entry, f"its entry point {entry.point.value!r} has no hook pgen_metrics; it must name the module that has it"
                )
            if slow := _slow(entry, time.perf_counter() - began):
                problems.append(slow)
            specs = [spec for answer in answers for spec in answer]
            if wrong := [spec for spec in specs if not isinstance(spec, MetricSpec)]:
                raise plugin_error(entry, f"its pgen_metrics hook returned {wrong[0]!r}, expected pgen.MetricSpec")
            for spec in specs:
                _check_version(entry, spec)
            if double := [spec.name for spec in specs if spec.name in specs_by_name]:
                other = specs_by_name[double[0]][0]
                raise plugin_error(entry, f"the metric {double[0]!r} is offered by {other.origin} already")
            specs_by_name.update({spec.name: (entry, spec) for spec in specs})
        except PgenError as error:
            problems.append(str(error))
    return specs_by_name, problems


def _load(entry: Entry) -> Plugin:
    manager, spec = _call_hook(entry, "pgen_model")
    if not isinstance(spec, ModelSpec):
        raise plugin_error(entry, f"its pgen_model hook returned {spec!r}, expected a pgen.ModelSpec")
    if spec.name != entry.name:
        raise plugin_error(entry, f"its entry point is called {entry.name!r} but its spec says {spec.name!r}")
    _check_version(entry, spec)
    return Plugin(entry, spec, manager)


def _call_hook(entry: Entry, hook: str) -> tuple[pluggy.PluginManager, Any]:
    """Return a manager of this plug-in only, and what its hook returns."""
    with forbid_torch_import(entry, entry.point.value):
        module = load_entry(entry)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        with guard_import(entry, f"its hook {hook} fails"):
            manager.register(module, name=entry.name)
            manager.check_pending()
            return manager, getattr(manager.hook, hook)()


def _check_version(entry: Entry, spec: ModelSpec | MetricSpec) -> None:
    if spec.api != API_VERSION:
        raise plugin_error(
            entry, f"{spec.name!r} was written for version {spec.api} of pgen's plug-in API, and this pgen has {API_VERSION}"
        )


def _slow(entry: Entry, seconds: float) -> str:
    if entry.is_builtin or seconds < SLOW:
        return ""
    return f"Plug-in {entry.name!r} of {entry.origin} takes {seconds:.1f} s to import; import libraries where they are used."
