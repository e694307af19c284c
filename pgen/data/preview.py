"""Small previews of images for notebooks."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

#: Side of a preview in screen pixels, and the gap between two.
SIDE, GAP = 96, 4


def strip_data_uri(pixels: npt.NDArray[np.float32]) -> str:
    """Draw images (n, C, H, W) next to each other, as a PNG in a ``data:`` URI.

    |charge| is summed over channels and shown as grey levels, white for none. All images share one
    scale, whose black is the 99th percentile of the nonzero pixels.
    """
    from PIL import Image

    charge = np.abs(pixels).sum(1)
    nonzero = charge[charge > 0]
    top = float(np.percentile(nonzero, 99)) if nonzero.size else 1.0
    levels = (255 - 255 * np.sqrt(np.clip(charge / top, 0, 1))).astype(np.uint8)
    tiles = [np.asarray(_resize(Image.fromarray(_min_pool(image)))) for image in levels]
    gap = np.full((tiles[0].shape[0], GAP), 200, np.uint8)
    strip = np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], axis=1)
    stream = io.BytesIO()
    Image.fromarray(strip).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _min_pool(levels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reduce an image to at most ``SIDE`` rows and columns, by the darkest pixel of each block."""
    steps = [-(-extent // SIDE) for extent in levels.shape]
    padding = [(0, -extent % step) for extent, step in zip(levels.shape, steps, strict=True)]
    padded = np.pad(levels, padding, constant_values=255)
    rows, columns = (extent // step for extent, step in zip(padded.shape, steps, strict=True))
    return padded.reshape(rows, steps[0], columns, steps[1]).min((1, 3))


def _resize(image: Image.Image) -> Image.Image:
    """Enlarge a small image, without interpolation."""
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), resample=0)
