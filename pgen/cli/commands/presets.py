"""Presets: tested options, in pgen/presets/NAME.toml with a table per model.

NAME.json next to it has the measured results.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pgen.errors import ConfigError, option

FOLDER = Path(__file__).parents[2] / "presets"


def preset_names() -> list[str]:
    """List the presets."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_tables(name: str) -> dict[str, dict[str, Any]]:
    """Load the options of a preset, by model."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def load_preset(name: str | None, model: str) -> dict[str, Any]:
    """Load the options of a preset for a model; none without a name.

    Raises:
        ConfigError: There is no such preset, or it has no options for the model.
    """
    if name is None:
        return {}
    names = preset_names()
    tables = load_tables(name) if name in names else {}
    if model not in tables:
        problem = f"it only has options for {', '.join(tables)}" if tables else "there is no such preset"
        suitable = ", ".join(preset for preset in names if model in load_tables(preset))
        advice = f"presets of {model}: {suitable}" if suitable else f"{model} has none; write its options to a file for {option('config')}"
        raise ConfigError(f"{option('preset', name)}: {problem}; {advice}.")
    return tables[model]
