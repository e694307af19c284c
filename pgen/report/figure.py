"""The one way in which a figure is made and saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pgen.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A figure of ``width`` x ``height`` inches, by default laid out around its labels; without pyplot, so nothing is kept or shown."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure`` to ``path``, in the format that its ending names."""
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor=figure.get_facecolor())
