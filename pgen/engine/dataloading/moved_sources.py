"""Data of a run that have moved since it began.

Relative paths start in the working directory in which the run began.
"""

from __future__ import annotations

import os
from pathlib import Path

from pgen.data.io.plugin_sources import scheme_names
from pgen.data.io.sources import files_of, parse
from pgen.engine.config import SOURCES, TrainConfig
from pgen.errors import PgenError


def missing_sources(settings: TrainConfig) -> dict[str, str]:
    """Return the sources, by option, that do not exist where the settings say."""
    sources = {option: getattr(settings, option) for option in SOURCES}
    return {option: source for option, source in sources.items() if source and not _exists(source, settings.data_root)}


def locate_sources(settings: TrainConfig, began_in: str | None) -> TrainConfig:
    """Return a run's settings with a ``data_root`` under which its relative sources exist.

    Args:
        settings: The settings.
        began_in: Working directory in which the run began, if config.json has it. It is used if
            something is missing in the current one and nothing is missing there.
    """
    if began_in is None or not missing_sources(settings):
        return settings
    relocated = settings.model_copy(update={"data_root": str(Path(began_in) / (settings.data_root or ""))})
    return settings if missing_sources(relocated) else relocated


def resolve_moved(settings: TrainConfig, before: TrainConfig) -> TrainConfig:
    """Make the sources absolute that differ from ``before``.

    New ones are relative to the current directory, not to the one in which the run began.
    """
    changed = [name for name in (*SOURCES, "data_root") if getattr(settings, name) != getattr(before, name)]
    if not changed:
        return settings
    if settings.data_root is not None:
        return settings.model_copy(update={"data_root": str(Path.cwd() / settings.data_root)})
    sources = {name: getattr(settings, name) for name in changed}
    return settings.model_copy(update={name: _absolute(source) for name, source in sources.items() if source})


def _exists(source: str, data_root: str | None) -> bool:
    try:
        files_of(source, data_root=data_root)
    except (PgenError, OSError):  # also a directory that this user may not read
        return False
    return True


def _absolute(source: str) -> str:
    if parse(source)[0] in scheme_names():
        return source
    return os.path.join(Path.cwd(), source)  # noqa: PTH118 - as text, since options may follow the path
