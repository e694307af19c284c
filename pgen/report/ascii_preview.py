"""Preview of an image in characters, for a terminal."""

from __future__ import annotations

import numpy as np

from pgen.data.images import FloatArray

#: From no charge to the most.
CHARACTERS = " .:-=+*#%@"
#: Largest size; a character is about twice as high as wide.
ROWS, COLUMNS = 32, 72


def render_ascii(image: FloatArray) -> str:
    """Draw the planes of an image (C, H, W) below each other.

    Each character is the largest |charge| of a block of pixels, on a log scale.
    """
    magnitude = np.abs(image)
    step = max(1, -(-image.shape[2] // COLUMNS), -(-image.shape[1] // (2 * ROWS)))
    starts = [np.arange(0, extent, by) for extent, by in zip(image.shape[1:], (2 * step, step), strict=True)]
    bright = np.log1p(np.maximum.reduceat(np.maximum.reduceat(magnitude, starts[0], axis=1), starts[1], axis=2))
    # The smallest charge has a character of its own.
    scale = (len(CHARACTERS) - 1) / max(float(bright.max()), 1e-9)
    planes = np.ceil(bright * scale - 1e-6).astype(int)
    between = "\n" + "-" * planes.shape[2] + "\n"
    return between.join("\n".join("".join(CHARACTERS[level] for level in row).rstrip() for row in plane) for plane in planes)
