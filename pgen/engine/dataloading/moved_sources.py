"""Where the data of a run lie: relative paths start in the folder in which the run began, and the same data may lie elsewhere now."""

from __future__ import annotations

import os
from pathlib import Path

from pgen.data.io.plugin_sources import scheme_names
from pgen.data.io.sources import files_of, parse
from pgen.engine.config import SOURCES, TrainConfig
from pgen.errors import PgenError


def missing_sources(settings: TrainConfig) -> dict[str, str]:
    """The sources, by option, that are not where the settings say."""
    sources = {option: getattr(settings, option) for option in SOURCES}
    return {option: source for option, source in sources.items() if source and not _exists(source, settings.data_root)}


def locate_sources(settings: TrainConfig, began_in: str | None) -> TrainConfig:
    """The settings of a run, with a ``data_root`` by which its relative sources are found.

    Args:
        began_in: the folder in which the run began, where its config.json says so. It counts where
            something is missing in the current folder, and nothing is in that one.
    """
    if began_in is None or not missing_sources(settings):
        return settings
    there = settings.model_copy(update={"data_root": str(Path(began_in) / (settings.data_root or ""))})
    return settings if missing_sources(there) else there


def resolve_moved(settings: TrainConfig, before: TrainConfig) -> TrainConfig:
    """The settings with absolute paths in place of those that differ from ``before``: they are
    relative to the current folder, and not to the one in which the run began."""
    moved = [name for name in (*SOURCES, "data_root") if getattr(settings, name) != getattr(before, name)]
    if not moved:
        return settings
    if settings.data_root is not None:
        return settings.model_copy(update={"data_root": str(Path.cwd() / settings.data_root)})
    sources = {name: getattr(settings, name) for name in moved}
    return settings.model_copy(update={name: _absolute(source) for name, source in sources.items() if source})


def _exists(source: str, data_root: str | None) -> bool:
    try:
        files_of(source, data_root=data_root)
    except (PgenError, OSError):  # such as a folder that only another may read
        return False
    return True


def _absolute(source: str) -> str:
    if parse(source)[0] in scheme_names():
        return source
    return os.path.join(Path.cwd(), source)  # noqa: PTH118 - as text, since options may follow the path
