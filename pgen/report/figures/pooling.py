"""Pooling of large images for display, which keeps thin tracks visible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray


def pool_image(image: FloatArray, rows: int, columns: int) -> FloatArray:
    """Shrink an image (C, H, W) to at most ``rows`` x ``columns`` pixels.

    Each pixel is the one of largest magnitude in its block, with its sign. A track is one pixel
    wide, and would have gaps if single pixels of the large image were picked.
    """
    for axis, most in ((1, rows), (2, columns)):
        extent = image.shape[axis]
        if extent > most:
            image = _pool_along(image, (np.arange(most) * extent) // most, axis)
    return image


def _pool_along(image: FloatArray, starts: npt.NDArray[np.int64], axis: int) -> FloatArray:
    highest, lowest = (reduce.reduceat(image, starts, axis=axis) for reduce in (np.maximum, np.minimum))
    return np.where(highest >= -lowest, highest, lowest)
