"""A picture of an image in letters, for a terminal."""

from __future__ import annotations

import numpy as np

from pgen.data.images import FloatArray

LETTERS = " .:-=+*#%@"  #: from no charge to the most
ROWS, COLUMNS = 32, 72  #: at most; a letter is about twice as high as wide


def picture(image: FloatArray) -> str:
    """The planes of an image (C, H, W), one below the other: of each group of pixels the largest |charge|, on a logarithmic
    scale."""
    low = np.abs(image)
    step = max(1, -(-image.shape[2] // COLUMNS), -(-image.shape[1] // (2 * ROWS)))
    starts = [np.arange(0, extent, by) for extent, by in zip(image.shape[1:], (2 * step, step), strict=True)]
    bright = np.log1p(np.maximum.reduceat(np.maximum.reduceat(low, starts[0], axis=1), starts[1], axis=2))
    # The smallest charge has a letter of its own.
    scale = (len(LETTERS) - 1) / max(float(bright.max()), 1e-9)
    planes = np.ceil(bright * scale - 1e-6).astype(int)
    between = "\n" + "-" * planes.shape[2] + "\n"
    return between.join("\n".join("".join(LETTERS[level] for level in row).rstrip() for row in plane) for plane in planes)
