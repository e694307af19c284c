"""What others build on changes on purpose only: `python -m tests.api.test_surface` writes surface.txt anew, and review sees the change.

A change that breaks a plug-in also raises pgen.API_VERSION.
"""

from __future__ import annotations

from pathlib import Path

import pgen
from pgen.plugins.specs import API_VERSION
from tests.helpers.surface import surface

FROZEN = Path(__file__).with_name("surface.txt")


def test_surface_is_what_was_frozen() -> None:
    frozen, found = FROZEN.read_text().splitlines(), surface()
    gone = [line for line in frozen if line not in found]
    new = [line for line in found if line not in frozen]
    assert not gone and not new, f"if this is meant, run python -m tests.api.test_surface\ngone: {gone}\nnew: {new}"


def test_api_is_versioned() -> None:
    assert pgen.API_VERSION == API_VERSION == 1


if __name__ == "__main__":
    FROZEN.write_text("\n".join(surface()) + "\n")
