"""The one way in which a figure is made and saved."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgen.errors import PgenError
from pgen.utils.files import atomic_write
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150  #: pixels an inch
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
        raise PgenError(f"{target}: a picture cannot be written as {target.suffix or 'a name without ending'}; wanted {target.stem}.png.")
    return target


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write ``figure`` to ``path``, in the format that its ending names; no text is read as TeX."""
    _make_literal(figure)
    with atomic_write(check_picture(path)) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a box stands for it
        figure.savefig(temporary, dpi=DPI, facecolor=figure.get_facecolor())


def legend_label(name: str) -> str:
    """Make a name fit for a legend, from which matplotlib drops labels with a leading underscore."""
    label = shorten(name)
    return f" {label}" if label.startswith("_") else label


def _make_literal(figure: Figure) -> None:
    """Show every text of a figure as it is, without TeX and control characters.

    Numbers along an axis are left alone: matplotlib writes powers of ten in TeX.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    numbers = {text for axis in figure.findobj(Axis) for text in axis.findobj(Text) if text is not axis.label}
    for text in set(figure.findobj(Text)) - numbers:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text(), keep="\n"))
