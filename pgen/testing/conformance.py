"""Running the checks of a model, and telling what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pgen.errors import PgenError, Stopped, one_line
from pgen.plugins import registry
from pgen.plugins.entry_points import cause
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import ModelSpec
from pgen.testing.checks import CHECKS, NEEDED, Skipped, Subject

#: Images to check a model on, where no others are given.
DATA = "simulate:n=32,size=32,seed=1"


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a model. problem: why it does not hold, empty where it does. skipped: why it was not asked."""

    name: str
    problem: str = ""
    skipped: str = ""


def check_model(model: str | ModelSpec, *, data: str = DATA, options: Mapping[str, Any] | None = None) -> list[Check]:
    """Ask all of an installed model, by its name or its spec, and return what was asked.

    AssertionError, which names each check that does not hold, and why. data: the images, or targets, to train on for a few steps; a source
    as on the command line. options: the model's own, where its defaults do not suit these images.
    """
    found = list(conformance(model, data=data, options=options))
    if wrong := [f"{check.name}: {check.problem}" for check in found if check.problem]:
        raise AssertionError("\n".join(wrong))
    return found


def conformance(
    model: str | ModelSpec, *, data: str = DATA, options: Mapping[str, Any] | None = None, beginning: Callable[[str], None] | None = None
) -> Iterator[Check]:
    """The checks of :func:`check_model` one by one; ``beginning`` hears the name of each before it is asked. UserError where there is no
    such model, or it does not load."""
    name = model if isinstance(model, str) else model.name
    plugin = registry.load(name)
    if isinstance(model, ModelSpec) and model != plugin.spec:
        raise PgenError(f"The installed {plugin.entry.origin} has another spec of {name!r}; install it anew with pip install -e .")
    with tempfile.TemporaryDirectory(prefix="pgen-check-") as folder:
        subject = Subject(plugin, Path(folder), data, dict(options or {}))
        for told, ask in CHECKS.items():
            if beginning is not None:
                beginning(told)
            try:
                ask(subject)
            except Skipped as why:
                yield Check(told, skipped=str(why))
            except (KeyboardInterrupt, Stopped):
                raise
            except BaseException as error:
                yield Check(told, problem=_told(error, plugin))
                if ask in NEEDED:
                    return
            else:
                yield Check(told)


def _told(error: BaseException, plugin: Plugin) -> str:
    if isinstance(error, AssertionError | PgenError):
        return str(error)
    return one_line(error) if isinstance(error, ValidationError) else cause(error, plugin.entry.package)
