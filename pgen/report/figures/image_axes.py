"""A dark sheet on which images are placed by the inch, on one charge scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray
from pgen.report.figures.base import DPI, new_figure
from pgen.report.figures.pooling import pool_image
from pgen.utils.text import shorten

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_BACKGROUND, _INK, _FRAME = "#101014", "#e8e8e8", "#5a5a68"
_COLOURS = "inferno"  # perceptually uniform, and its zero is black
#: For signed charge: negative is blue, 0 black, positive orange; distinct for colour-blind eyes
#: too.
_DIVERGING = ("#d8f3ff", "#6cc6ff", "#2a7fd4", "#14407f", "#08152b", "#000000", "#2b1104", "#8a3a08", "#d9731a", "#ffb45a", "#fff0cf")
# All lengths are in inches.
_SIDE = 1.15  # longer side of a plane
_GAP, _EDGE, _BAR = 0.07, 0.15, 0.95  # between images, around the sheet, for the colour bar
_CHARACTER, _LINE = 0.062, 0.125  # width of a character and height of a line of a caption
_LARGEST = 60.0  # a sheet of thousands of images still has to be drawn


def charge_colours(signed: bool) -> Colormap:
    """Return the colours of charge; for signed charge, no charge is in the middle."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", _DIVERGING) if signed else colormaps[_COLOURS]


class Sheet:
    """A figure of rows x columns images, the planes of each next to each other.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        shape: (C, H, W) of the images.
        vmax: |charge| of the brightest colour.
        signed: Whether the scale is from -vmax to vmax, with a colour for each sign.
        captions: All captions, to make room for them; empty for none.
        labels: All labels of rows, to the left of them.
        heading: One line above everything.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        shape: Sequence[int],
        vmax: float,
        *,
        signed: bool = False,
        captions: Sequence[str] = (),
        labels: Sequence[str] = (),
        heading: str = "",
    ) -> None:
        from matplotlib.colors import FuncNorm, PowerNorm

        planes, height, width = shape
        captions, labels = list(map(_legible, captions)), list(map(_legible, labels))
        lines = [line for caption in captions for line in caption.splitlines()]
        scale = min(_SIDE, _LARGEST / (columns * planes), _LARGEST / rows) / max(height, width)
        self.image = (planes * width * scale, height * scale)
        self.cell = (
            max(self.image[0], _CHARACTER * max(map(len, lines), default=0)) + _GAP,
            self.image[1] + _GAP + _LINE * max((len(caption.splitlines()) for caption in captions), default=0),
        )
        self.left = _EDGE + 1.35 * _CHARACTER * max(map(len, labels), default=0)
        self.top = _EDGE + (0.3 if heading else 0)
        self.size = (
            max(self.left + columns * self.cell[0] + _BAR, _EDGE + 1.35 * _CHARACTER * len(heading) + _EDGE),
            max(self.top + rows * self.cell[1] + _EDGE, 1.8),
        )
        self.columns = columns
        # With a square root, faint tracks are visible next to bright ones.
        self.norm = FuncNorm((_signed_root, _signed_square), vmin=-vmax, vmax=vmax) if signed else PowerNorm(0.5, vmin=0, vmax=vmax)
        self.colours = charge_colours(signed)
        self.signed = signed
        self.last_image: AxesImage | None = None
        self.figure = new_figure(*self.size, layout=None)
        self.figure.set_facecolor(_BACKGROUND)
        # One axes for all, in inches from the top left corner: an axes for each image would take a
        # second for every dozen.
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        if heading:
            self._add_text(heading, _EDGE, _EDGE, va="top", fontsize=9)

    def show(self, image: FloatArray, row: int, column: int, *, caption: str = "", label: str = "") -> None:
        """Draw the planes of one image (C, H, W), with a caption above and a label to the left."""
        width, height = self.image
        pixels = [max(1, int(inches * DPI)) for inches in (height, width / len(image))]
        left = self.left + column * self.cell[0]
        bottom = self.top + (row + 1) * self.cell[1] - _GAP
        top = bottom - height
        self.last_image = self.axes.imshow(
            np.concatenate(list(pool_image(image, *pixels)), axis=1),
            extent=(left, left + width, bottom, top),
            cmap=self.colours,
            norm=self.norm,
            interpolation="nearest",
        )
        borders = left + width * np.arange(len(image) + 1) / len(image)
        self.axes.vlines(borders, top, bottom, color=_FRAME, linewidth=0.6)
        self.axes.hlines([top, bottom], left, left + width, color=_FRAME, linewidth=0.6)
        if caption:
            self._add_text(caption, left, top - 0.03, va="bottom", fontsize=7)
        if label:
            self._add_text(label, self.left - _GAP, bottom - height / 2, ha="right", va="center", fontsize=9)

    def finish(self, unit: str) -> Figure:
        """Add the colour bar, with the unit of charge, and return the figure."""
        assert self.last_image is not None, "a sheet without images"
        across, down = self.size
        self.axes.set(xlim=(0, across), ylim=(down, 0), aspect="auto")
        left, height = self.left + self.columns * self.cell[0] + 0.08, min(down - self.top - 2 * _EDGE, 4.0)
        bar = self.figure.add_axes((left / across, 1 - (self.top + height + _EDGE / 2) / down, 0.12 / across, height / down))
        self.figure.colorbar(self.last_image, cax=bar, extend="both" if self.signed else "max")
        bar.set_ylabel(f"charge per pixel [{shorten(unit)}]", color=_INK, fontsize=7)
        bar.tick_params(colors=_INK, labelsize=7)
        return self.figure

    def _add_text(self, text: str, x: float, y: float, **style: str | float) -> None:
        self.axes.text(x, y, _legible(text), color=_INK, linespacing=1.15, **style)  # type: ignore[arg-type]


def _legible(text: str) -> str:
    """Shorten each line of a caption to what the sheet has room for."""
    return "\n".join(shorten(line) for line in text.split("\n"))


def _signed_root(charge: npt.NDArray) -> npt.NDArray:
    return np.sign(charge) * np.sqrt(np.abs(charge))


def _signed_square(root: npt.NDArray) -> npt.NDArray:
    return np.sign(root) * np.square(root)
