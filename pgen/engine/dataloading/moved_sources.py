"""Find the data of a run, which may have been moved since it began."""

from __future__ import annotations

import os
from pathlib import Path

from pgen.data.io.plugin_sources import scheme_names
from pgen.data.io.sources import files_of, parse
from pgen.engine.config import SOURCES, TrainConfig
from pgen.errors import PgenError


def missing_sources(settings: TrainConfig) -> dict[str, str]:
    """Return the sources, by option, that are not where the settings say."""
    sources = {name: getattr(settings, name) for name in SOURCES}
    return {name: source for name, source in sources.items() if source and not _exists(source, settings.data_root)}


def locate_sources(settings: TrainConfig, began_in: str | None) -> TrainConfig:
    """Set ``data_root`` so that the relative sources of a run are found.

    Args:
        settings: Options of the run.
        began_in: Folder in which the run began, if its config.json says so. It is used if a source
            is missing in the current folder and none is missing in that one.
    """
    if began_in is None or not missing_sources(settings):
        return settings
    moved = settings.model_copy(update={"data_root": str(Path(began_in) / (settings.data_root or ""))})
    return settings if missing_sources(moved) else moved


def resolve_moved(settings: TrainConfig, before: TrainConfig) -> TrainConfig:
    """Make sources absolute that differ from ``before``, relative to the current folder."""
    changed = [name for name in (*SOURCES, "data_root") if getattr(settings, name) != getattr(before, name)]
    if not changed:
        return settings
    if settings.data_root is not None:
        return settings.model_copy(update={"data_root": str(Path.cwd() / settings.data_root)})
    sources = {name: getattr(settings, name) for name in changed}
    return settings.model_copy(update={name: _make_absolute(source) for name, source in sources.items() if source})


def _exists(source: str, data_root: str | None) -> bool:
    try:
        files_of(source, data_root=data_root)
    except (PgenError, OSError):  # such as a folder that only another may read
        return False
    return True


def _make_absolute(source: str) -> str:
    if parse(source)[0] in scheme_names():
        return source
    return os.path.join(Path.cwd(), source)  # noqa: PTH118 - as text, since options may follow the path
