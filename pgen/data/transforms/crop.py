"""Small images out of large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pgen.data.chunks import chunk_ranges
from pgen.data.images import ArrayImages, FloatArray, ImageSet, geometry
from pgen.data.sparse import above_threshold
from pgen.errors import PgenError

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
    share_out: Callable[[Work], Iterator[tuple[range, Sequence[ImageSet]]]] | None = None,
) -> Iterator[ImageSet]:
    """The crops of each image that has any, one set a parent image, in order: bounded memory for :func:`pgen.data.io.write.write_images`.

    tiles: the non-overlapping (H, W) windows from the upper left on. centre: one window around the centroid of |charge|. ``border``:
    windows that cross it are dropped, or padded with zeros. Kept are windows of which at least ``min_occupancy`` (a fraction) has |charge|
    above ``threshold`` in some channel. Ids are "parent/row/column" of the window's first pixel; the event is the parent's.
    ``progress(done, total)`` is called after each part of the parents; ``share_out`` has the work done for each part, as
    :func:`pgen.data.processing.parallel.map_chunks` does. UserError where none is kept.
    """
    (height, width), (_, rows, columns) = size, images.shape
    if min(size) < 1 or (border == "drop" and (height > rows or width > columns)):
        way_out = "give a smaller size, or pad the border"
        raise PgenError(f"{images.name}: cannot crop {height} x {width} out of images of {rows} x {columns}; {way_out}.")
    if mode not in get_args(Mode) or border not in get_args(Border):
        raise PgenError(f"mode={mode!r}, border={border!r} is not known, wanted tiles or centre, and drop or pad.")
    if not 0 <= min_occupancy <= 1:
        raise PgenError(f"min_occupancy={min_occupancy:g} does not fit, wanted a fraction from 0 to 1.")
    count = 0
    work = partial(_crops, size=size, mode=mode, border=border, threshold=threshold, min_occupancy=min_occupancy)
    for part, found in share_out(work) if share_out else ((part, work(images, part)) for part in chunk_ranges(images)):
        yield from found
        count += len(found)
        if progress:
            progress(part.stop, len(images))
    if not count:
        raise PgenError(
            f"{images.name}: no {height} x {width} crop has {min_occupancy:.2%} of its pixels above {threshold:g}; lower either of them."
        )


def _crops(
    images: ImageSet, part: range, *, size: tuple[int, int], mode: Mode, border: Border, threshold: float, min_occupancy: float
) -> list[ArrayImages]:
    """Those of the images of a part that have any."""
    height, width = size
    found = []
    places = geometry(images)
    for i, image in zip(part, images.read(part), strict=True):
        corners = _tiles(image, size) if mode == "tiles" else _centre(image, size, threshold)
        if border == "drop":
            corners = [(r, c) for r, c in corners if 0 <= r <= image.shape[1] - height and 0 <= c <= image.shape[2] - width]
        windows = [(r, c, _window(image, r, c, size)) for r, c in corners]
        kept = [(r, c, w) for r, c, w in windows if np.mean(above_threshold(w, threshold).any(0)) >= min_occupancy]
        if kept:
            found.append(
                ArrayImages(
                    np.stack([w for _, _, w in kept]),
                    name=images.name,
                    ids=[f"{images.ids[i]}/{r}/{c}" for r, c, _ in kept],
                    events=[images.events[i]] * len(kept),
                    labels={key: np.repeat(values[i : i + 1], len(kept), 0) for key, values in images.labels.items()},
                    unit=images.unit,
                    geometry=np.stack([_moved(places[i], r, c) for r, c, _ in kept]),
                )
            )
    return found


def _moved(flat_index: npt.NDArray[np.float64], row: int, column: int) -> npt.NDArray[np.float64]:
    """The geometry (C, 4) of a window whose first pixel is that one of the image."""
    return np.concatenate([flat_index[:, :2] + flat_index[:, 2:] * (row, column), flat_index[:, 2:]], 1)


def _tiles(image: FloatArray, size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(r, c) for r in range(0, image.shape[1], size[0]) for c in range(0, image.shape[2], size[1])]


def _centre(image: FloatArray, size: tuple[int, int], threshold: float) -> list[tuple[int, int]]:
    """The window around the centroid of the |charge| above threshold, or none without charge."""
    charge = np.where(above_threshold(image, threshold), np.abs(image), 0).sum(0, dtype=np.float64)
    if not charge.sum() > 0:
        return []
    corner = []
    for axis, extent in enumerate(size):
        weights = charge.sum(1 - axis)
        corner.append(int(np.floor(np.average(np.arange(len(weights)), weights=weights) + 0.5)) - extent // 2)
    return [(corner[0], corner[1])]


def _window(image: FloatArray, row: int, column: int, size: tuple[int, int]) -> FloatArray:
    """(C, *size) from a corner on, zeros beyond the border."""
    out = np.zeros((len(image), *size), np.float32)
    low = [max(start, 0) for start in (row, column)]
    high = [min(start + extent, end) for start, extent, end in zip((row, column), size, image.shape[1:], strict=True)]
    out[:, low[0] - row : high[0] - row, low[1] - column : high[1] - column] = image[:, low[0] : high[0], low[1] : high[1]]
    return out
