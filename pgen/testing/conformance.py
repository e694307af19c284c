"""Run the checks of a model and report the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgen.errors import PgenError, PluginError, Stopped, one_line
from pgen.plugins import registry
from pgen.plugins.entry_points import cause
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import ModelSpec
from pgen.testing.checks import CHECKS, REQUIRED, Skipped, Subject

#: The default images to check a model on.
DATA = "simulate:n=32,size=32,seed=1"


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        name: What was checked.
        problem: What is wrong, empty if nothing is.
        skipped: Why the check does not apply, empty if it does.
    """

    name: str
    problem: str = ""
    skipped: str = ""


def check_model(model: str | ModelSpec, *, data: str = DATA, options: Mapping[str, Any] | None = None) -> list[Check]:
    """Run all checks of an installed model.

    Args:
        model: Its name or spec.
        data: The images, or targets, to train on for a few steps: a source as on the command line.
        options: The model's options, if its defaults do not suit these images.

    Returns:
        The results.

    Raises:
        AssertionError: A check failed; the message names each of them and what is wrong.
    """
    checks = list(run_checks(model, data=data, options=options))
    if failed := [f"{check.name}: {check.problem}" for check in checks if check.problem]:
        raise AssertionError("\n".join(failed))
    return checks


def run_checks(
    model: str | ModelSpec, *, data: str = DATA, options: Mapping[str, Any] | None = None, on_start: Callable[[str], None] | None = None
) -> Iterator[Check]:
    """Run the checks of :func:`check_model` one by one.

    Args:
        model: The name or spec of an installed model.
        data: See :func:`check_model`.
        options: See :func:`check_model`.
        on_start: Called with the name of each check before it runs.

    Yields:
        The results.

    Raises:
        PluginError: There is no such model, or it does not load.
    """
    name = model if isinstance(model, str) else model.name
    plugin = registry.load(name)
    if isinstance(model, ModelSpec) and model != plugin.spec:
        raise PluginError(f"The installed {plugin.entry.origin} has another spec of {name!r}; install it again with pip install -e .")
    with tempfile.TemporaryDirectory(prefix="pgen-check-") as folder:
        subject = Subject(plugin, Path(folder), data, dict(options or {}))
        for title, check in CHECKS.items():
            if on_start is not None:
                on_start(title)
            try:
                check(subject)
            except Skipped as reason:
                yield Check(title, skipped=str(reason))
            except (KeyboardInterrupt, Stopped):
                raise
            except BaseException as error:
                yield Check(title, problem=_describe(error, plugin))
                if check in REQUIRED:
                    return
            else:
                yield Check(title)


def _describe(error: BaseException, plugin: Plugin) -> str:
    if isinstance(error, AssertionError | PgenError):
        return str(error)
    return one_line(error) if isinstance(error, ValidationError) else cause(error, plugin.entry.package)
