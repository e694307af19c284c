"""The order of the axes of an array of images."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy.typing as npt

from pgen.errors import ChoiceNeeded, ConfigError

#: By rank: the axes of an array if nothing else is known.
DEFAULTS = {2: "hw", 3: "nhw", 4: "nchw"}
CHANNELS_LAST = {3: "hwc", 4: "nhwc"}
#: Most channels in the last axis: three planes, or red, green, blue and opacity.
MAX_CHANNELS_LAST = 4
#: By rank: an array with more rows and columns than this before few channels looks like channels
#: last.
MIN_PIXELS = {3: 8, 4: 5}


@dataclass(frozen=True)
class Layout:
    """The order of an array's axes.

    Attributes:
        axes: One letter per axis: n for images, c for channels (planes), h for rows (ticks), w for
            columns (wires). Without n the array is one image, without c its images have one
            channel.
        reason: How this is known: "by default", or the option that says so.
    """

    axes: str
    reason: str

    @classmethod
    def parse(cls, text: str, name: str) -> Layout:
        """Parse the option ``layout=TEXT``.

        Raises:
            ConfigError: If h or w is missing, or a letter is unknown or occurs twice.
        """
        axes = text.lower()
        if not re.fullmatch("[nchw]{2,4}", axes) or len(set(axes)) < len(axes) or not {"h", "w"} <= set(axes):
            raise ConfigError(
                f"{name}: layout={text} is unknown; expected the axes in their order, each once: n (images), c (channels), h (rows, ticks) "
                "and w (columns, wires), such as nhwc; h and w are needed."
            )
        return cls(axes, f"by layout={axes}")

    @classmethod
    def default(cls, shape: tuple[int, ...], name: str) -> Layout:
        """Return the layout of an array of 2 to 4 axes of which nothing is known.

        Raises:
            ChoiceNeeded: If its sizes suggest another one.
        """
        rank = len(shape)
        if rank in MIN_PIXELS and shape[-1] <= MAX_CHANNELS_LAST and min(shape[-3:-1]) > MIN_PIXELS[rank]:
            raise ChoiceNeeded(
                f"{name}: an array of shape {shape} looks like channels in the last axis; add layout={CHANNELS_LAST[rank]} if they are, or "
                f"layout={DEFAULTS[rank]} if its images have {shape[-1]} columns."
            )
        return cls(DEFAULTS[rank], "by default")

    @property
    def images_axis(self) -> int | None:
        """The axis along which images are counted; None if the array is one image."""
        return self.axes.index("n") if "n" in self.axes else None

    def count(self, shape: tuple[int, ...]) -> int:
        """Return the number of images in an array of ``shape``."""
        return 1 if self.images_axis is None else shape[self.images_axis]

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return (C, H, W) of each image in an array of ``shape``."""
        channels, rows, columns = (shape[self.axes.index(axis)] if axis in self.axes else 1 for axis in "chw")
        return channels, rows, columns

    def index(self, first: int, stop: int) -> tuple[slice, ...]:
        """Return the index of the images from ``first`` to ``stop``."""
        return tuple(slice(first, stop) if axis == "n" else slice(None) for axis in self.axes)

    def arrange(self, block: npt.NDArray) -> npt.NDArray:
        """Rearrange a block of this layout to (n, C, H, W)."""
        block = block.transpose([self.axes.index(axis) for axis in "nchw" if axis in self.axes])
        if "c" not in self.axes:
            block = block[..., None, :, :]
        return block if "n" in self.axes else block[None]

    def about(self) -> dict[str, str]:
        """Return what ``pgen data info`` shows."""
        return {"layout": f"{self.axes}, {self.reason}", "rows": f"ticks, {self.reason}", "columns": f"wires, {self.reason}"}
