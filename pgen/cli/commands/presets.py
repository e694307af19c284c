"""Presets: the options of known jobs, in pgen/presets/NAME.toml, a table for each model. What they gave when measured lies beside them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pgen.errors import PgenError

FOLDER = Path(__file__).parents[2] / "presets"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def tables(name: str) -> dict[str, dict[str, Any]]:
    """The options of a preset by model."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def preset(name: str | None, model: str) -> dict[str, Any]:
    """The options that the preset ``name`` has for ``model``; none without a name."""
    if name is None:
        return {}
    known = names()
    found = tables(name) if name in known else {}
    if model not in found:
        what = f"it has options for {', '.join(found)} alone" if found else "there is no such preset"
        for_model = ", ".join(each for each in known if model in tables(each)) or "none; write its options to a file and give --config FILE"
        raise PgenError(f"--preset {name}: {what}; presets of {model}: {for_model}.")
    return found[model]
