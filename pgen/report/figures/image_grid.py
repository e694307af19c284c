"""Sheets of detector images on one charge scale."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pgen.data.images import FloatArray
from pgen.errors import PgenError
from pgen.metrics.validation import Images, as_images, same_shape
from pgen.report.figures.image_sheet import Sheet

_PAIRS = 4  # a row


def save_grid(
    path: str | os.PathLike[str],
    images: Images,
    *,
    columns: int | None = None,
    vmax: float | None = None,
    titles: Sequence[str] | None = None,
    unit: str = "ADC",
) -> None:
    """A sheet of images (n, C, H, W) in charge units, one colour scale for all; the planes of an image stand side by side. If any charge is
    negative the scale is symmetrical about 0.

    Args:
        columns: images a row; by default the sheet is about square.
        vmax: |charge| of the brightest colour; by default its 99.5 % quantile over pixels that are not 0, so that a hot pixel does
            not dim the rest.
        titles: (n,) one above each image.

    Raises:
        UserError: no images, another shape, or not as many titles as images.
    """
    array = as_images(images, "images")
    if titles is not None and len(titles) != len(array):
        raise PgenError(f"titles: found {len(titles)} for {len(array)} images, wanted one each.")
    across = min(columns or math.ceil(math.sqrt(len(array) / array.shape[1])), len(array))
    captions = titles if titles is not None else [""] * len(array)
    shape, scale = array.shape[1:], _scale(array, vmax)
    sheet = Sheet(math.ceil(len(array) / across), across, shape, **scale, captions=captions)
    for i, image in enumerate(array):
        sheet.show(image, *divmod(i, across), caption=captions[i])
    sheet.save(path, unit)


def save_rows(path: str | os.PathLike[str], rows: Mapping[str, Images], *, vmax: float | None = None, unit: str = "ADC") -> None:
    """Labelled rows of images, each (n, C, H, W) in charge units, on one colour scale; a shorter row ends early.

    By default the scale is that of the first row: it shows at a glance which of the others is too dim or too bright. If any charge is
    negative it is symmetrical about 0.

    Raises:
        UserError: no rows, or images of different shapes.
    """
    arrays = {name: as_images(images, name) for name, images in rows.items()}
    if not arrays:
        raise PgenError("rows: found none, wanted one or more named sets of images.")
    same_shape(**arrays)
    first = next(iter(arrays.values()))
    scale = _scale(first, vmax) | {"signed": any(map(_has_negative, arrays.values()))}
    sheet = Sheet(len(arrays), max(map(len, arrays.values())), first.shape[1:], **scale, labels=list(arrays))
    for row, (name, array) in enumerate(arrays.items()):
        for column, image in enumerate(array):
            sheet.show(image, row, column, label="" if column else name)
    sheet.save(path, unit)


def save_pairs(
    path: str | os.PathLike[str],
    left: Images,
    right: Images,
    captions: Sequence[str],
    *,
    names: tuple[str, str] = ("generated", "nearest in train"),
    unit: str = "ADC",
) -> None:
    """Images (n, C, H, W) beside the ones they are compared with, a caption above each pair, four pairs a row.

    Raises:
        UserError: not as many on the left, on the right and captions, no pairs, or images of different shapes.
    """
    a, b = as_images(left, names[0]), as_images(right, names[1])
    if a.shape != b.shape or len(captions) != len(a):
        raise PgenError(f"pairs: found {a.shape} images left, {b.shape} right and {len(captions)} captions, wanted as many of each.")
    both = np.concatenate([a, b], axis=1)
    across = min(_PAIRS, len(both))
    heading = f"each pair: {names[0]} | {names[1]}"
    sheet = Sheet(math.ceil(len(both) / across), across, both.shape[1:], **_scale(both), captions=captions, heading=heading)
    for i, pair in enumerate(both):
        sheet.show(pair, *divmod(i, across), caption=captions[i])
    sheet.save(path, unit)


def _scale(images: FloatArray, vmax: float | None = None) -> dict[str, Any]:
    """The colour scale of a sheet that shows ``images``."""
    magnitude = np.abs(images[images != 0])
    brightest = float(np.quantile(magnitude, 0.995)) if magnitude.size else 1.0
    return {"vmax": vmax or brightest, "signed": _has_negative(images)}


def _has_negative(images: FloatArray) -> bool:
    return bool((images < 0).any())
