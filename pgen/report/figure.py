"""The one way in which a figure is made and saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgen.errors import UserError
from pgen.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
#: Others that the library knows need programs that may not be there.
FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A figure of ``width`` x ``height`` inches, by default laid out around its labels; without pyplot, so nothing is kept or shown."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def check_picture(path: str | os.PathLike[str]) -> Path:
    """``path``, or a UserError where its ending names no format of pictures."""
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise UserError(f"{target}: a picture cannot be written as {target.suffix or 'a name without ending'}; wanted {target.stem}.png.")
    return target


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure`` to ``path``, in the format that its ending names."""
    with atomic(check_picture(path)) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor=figure.get_facecolor())
