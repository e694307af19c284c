"""Small images cut out of large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pgen.data.images import ArrayImages, FloatArray, ImageSet, chunk_ranges
from pgen.data.sparse import above_threshold
from pgen.errors import ConfigError, DataError

Mode = Literal["tiles", "centre"]
Border = Literal["drop", "pad"]
Work = Callable[[ImageSet, range], Sequence[ImageSet]]


def crop(
    images: ImageSet,
    size: tuple[int, int],
    *,
    mode: Mode = "tiles",
    border: Border = "drop",
    threshold: float = 0.0,
    min_occupancy: float = 0.01,
    progress: Callable[[int, int], None] | None = None,
    map_chunks: Callable[[Work], Iterator[tuple[range, Sequence[ImageSet]]]] | None = None,
) -> Iterator[ImageSet]:
    """Crop windows out of every image, and keep those with enough charge.

    Args:
        images: The images to crop.
        size: (rows, columns) of a window.
        mode: "tiles" for all windows side by side from the upper left; "centre" for one window
            around the centroid of |charge|.
        border: Windows that cross the border of the image: "drop" them, or "pad" them with zeros.
        threshold: |charge| above which a pixel counts.
        min_occupancy: Fraction of a window's pixels that must count, in any channel.
        progress: Called with (images done, images in total) after each chunk.
        map_chunks: Maps the work over chunks of the set, see
            :func:`pgen.data.processing.parallel.map_chunks`; by default in this process.

    Yields:
        The windows of each image that has any, in order, with the image's events and labels. Ids
        are "parent/row/column" of the window's first pixel.

    Raises:
        ConfigError: If an argument does not fit.
        DataError: If no window has enough charge.
    """
    (height, width), (_, rows, columns) = size, images.shape
    if min(size) < 1 or (border == "drop" and (height > rows or width > columns)):
        advice = "give a smaller size, or pad the border"
        raise ConfigError(f"{images.name}: cannot crop {height} x {width} out of images of {rows} x {columns}; {advice}.")
    if mode not in get_args(Mode) or border not in get_args(Border):
        raise ConfigError(f"mode={mode!r}, border={border!r} is unknown; expected tiles or centre, and drop or pad.")
    if not 0 <= min_occupancy <= 1:
        raise ConfigError(f"min_occupancy={min_occupancy:g} does not fit; expected a fraction from 0 to 1.")
    count = 0
    work = partial(_crop_chunk, size=size, mode=mode, border=border, threshold=threshold, min_occupancy=min_occupancy)
    results = map_chunks(work) if map_chunks else ((chunk, work(images, chunk)) for chunk in chunk_ranges(images))
    for chunk, crops in results:
        yield from crops
        count += len(crops)
        if progress:
            progress(chunk.stop, len(images))
    if not count:
        raise DataError(
            f"{images.name}: no {height} x {width} crop has {min_occupancy:.2%} of its pixels above {threshold:g}; lower either of them."
        )


def _crop_chunk(
    images: ImageSet, chunk: range, *, size: tuple[int, int], mode: Mode, border: Border, threshold: float, min_occupancy: float
) -> list[ArrayImages]:
    """Return the crops of each image of a chunk that has any."""
    height, width = size
    crops = []
    geometry = images.geometry_or_nan()
    for i, image in zip(chunk, images.read(chunk), strict=True):
        corners = _find_tiles(image, size) if mode == "tiles" else _find_centre(image, size, threshold)
        if border == "drop":
            corners = [(r, c) for r, c in corners if 0 <= r <= image.shape[1] - height and 0 <= c <= image.shape[2] - width]
        windows = [(r, c, _cut_window(image, r, c, size)) for r, c in corners]
        windows = [(r, c, w) for r, c, w in windows if np.mean(above_threshold(w, threshold).any(0)) >= min_occupancy]
        if windows:
            crops.append(
                ArrayImages(
                    np.stack([w for _, _, w in windows]),
                    name=images.name,
                    ids=[f"{images.ids[i]}/{r}/{c}" for r, c, _ in windows],
                    events=[images.events[i]] * len(windows),
                    labels={key: np.repeat(values[i : i + 1], len(windows), 0) for key, values in images.labels.items()},
                    unit=images.unit,
                    geometry=np.stack([_move_origin(geometry[i], r, c) for r, c, _ in windows]),
                )
            )
    return crops


def _move_origin(geometry: npt.NDArray[np.float64], row: int, column: int) -> npt.NDArray[np.float64]:
    """Return the geometry (C, 4) of a window whose first pixel is at (row, column) of the image."""
    return np.concatenate([geometry[:, :2] + geometry[:, 2:] * (row, column), geometry[:, 2:]], 1)


def _find_tiles(image: FloatArray, size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(r, c) for r in range(0, image.shape[1], size[0]) for c in range(0, image.shape[2], size[1])]


def _find_centre(image: FloatArray, size: tuple[int, int], threshold: float) -> list[tuple[int, int]]:
    """Return the corner of the window around the centroid of |charge|; nothing without charge."""
    charge = np.where(above_threshold(image, threshold), np.abs(image), 0).sum(0, dtype=np.float64)
    if not charge.sum() > 0:
        return []
    corner = []
    for axis, extent in enumerate(size):
        weights = charge.sum(1 - axis)
        corner.append(int(np.floor(np.average(np.arange(len(weights)), weights=weights) + 0.5)) - extent // 2)
    return [(corner[0], corner[1])]


def _cut_window(image: FloatArray, row: int, column: int, size: tuple[int, int]) -> FloatArray:
    """Return the window (C, *size) from a corner on, with zeros beyond the border."""
    window = np.zeros((len(image), *size), np.float32)
    low = [max(start, 0) for start in (row, column)]
    high = [min(start + extent, end) for start, extent, end in zip((row, column), size, image.shape[1:], strict=True)]
    window[:, low[0] - row : high[0] - row, low[1] - column : high[1] - column] = image[:, low[0] : high[0], low[1] : high[1]]
    return window
