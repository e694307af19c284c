"""Creation and saving of figures, without pyplot."""

from __future__ import annotations

import os
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from pgen.errors import ConfigError
from pgen.utils.files import atomic_write
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels per inch.
DPI = 150
#: Formats of figures. matplotlib has more, but they need programs that may be missing.
FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def new_figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Create a figure that notebooks display, and that no global state keeps.

    Args:
        width: In inches.
        height: In inches.
        layout: "constrained" makes room for labels.
    """
    return _figure_class()(figsize=(width, height), layout=layout)


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that notebooks show as PNG; without pyplot they would show its name."""

        def _repr_png_(self) -> bytes:
            return figure_to_png(self)

    return NotebookFigure


def check_figure_path(path: str | os.PathLike[str]) -> Path:
    """Return ``path``.

    Raises:
        ConfigError: Its ending is not that of a figure format.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{target}: a figure cannot be written as {target.suffix or 'a name without ending'}; use a name such as {target.stem}.png."
        )
    return target


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format of the path's ending.

    Text is drawn literally, not as TeX.
    """
    with atomic_write(check_figure_path(path)) as draft:
        _write(figure, draft)


def figure_to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = BytesIO()
    _write(figure, buffer)
    return buffer.getvalue()


def legend_label(name: str) -> str:
    """Make a name fit for a legend; matplotlib drops labels with a leading underscore."""
    label = shorten(name)
    return f" {label}" if label.startswith("_") else label


def _write(figure: Figure, target: Path | IO[bytes]) -> None:
    _make_literal(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the font has a box in its place
        figure.savefig(target, dpi=DPI, facecolor=figure.get_facecolor())


def _make_literal(figure: Figure) -> None:
    """Draw every text of a figure as it is, without TeX and control characters.

    Tick labels are left as they are: matplotlib writes powers of ten in TeX.
    """
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    tick_labels = {text for axis in figure.findobj(Axis) for text in axis.findobj(Text) if text is not axis.label}
    for text in set(figure.findobj(Text)) - tick_labels:
        text.set_parse_math(False)
        text.set_text(printable(text.get_text(), keep="\n"))
