"""Figures of detector images on one charge scale: grids, labelled rows and pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import FloatArray, ImageSet
from pgen.errors import DataError
from pgen.metrics.validation import Images, as_images, check_same_shape
from pgen.report.figures.image_axes import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAIRS_PER_ROW = 4


def plot_images(
    images: Images | ImageSet,
    labels: Sequence[object] | npt.NDArray | None = None,
    *,
    columns: int | None = None,
    vmax: float | None = None,
    unit: str | None = None,
) -> Figure:
    """Plot a grid of images on one colour scale.

    The planes of an image are next to each other. If any charge is negative, the scale is
    symmetric.

    Args:
        images: (n, C, H, W) or (n, H, W) in charge units, or a set of images.
        labels: (n,) captions, one above each image.
        columns: Images per row; by default the figure is about square.
        vmax: |charge| of the brightest colour; by default the 99.5 % quantile over pixels that are
            not 0, so that a hot pixel does not dim the others.
        unit: Unit of charge; by default that of the set, or ADC.

    Raises:
        DataError: No images, another shape, or not one label per image.
    """
    if not isinstance(images, np.ndarray | torch.Tensor):
        unit = unit or images.unit
        images = images.read(range(len(images)))
    array = as_images(images[:, None] if images.ndim == 3 else images, "images")
    if labels is not None and len(labels) != len(array):
        raise DataError(f"labels: expected one for each of {len(array)} images, got {len(labels)}.")
    captions = [""] * len(array) if labels is None else list(map(str, labels))
    columns = min(columns or math.ceil(math.sqrt(len(array) / array.shape[1])), len(array))
    sheet = Sheet(math.ceil(len(array) / columns), columns, array.shape[1:], **colour_scale(array, vmax), captions=captions)
    for i, image in enumerate(array):
        sheet.show(image, *divmod(i, columns), caption=captions[i])
    return sheet.finish(unit or "ADC")


def plot_rows(rows: Mapping[str, Images], *, vmax: float | None = None, unit: str = "ADC") -> Figure:
    """Plot labelled rows of images on one colour scale; a shorter row ends early.

    By default the scale is that of the first row, which shows at a glance which other row is too
    dim or too bright. If any charge is negative, it is symmetric.

    Args:
        rows: Label -> (n, C, H, W) in charge units.
        vmax: |charge| of the brightest colour.
        unit: Unit of charge.

    Raises:
        DataError: No rows, or images of different shapes.
    """
    arrays = {name: as_images(images, name) for name, images in rows.items()}
    if not arrays:
        raise DataError("rows: expected one or more named sets of images, got none.")
    check_same_shape(**arrays)
    first = next(iter(arrays.values()))
    scale = colour_scale(first, vmax) | {"signed": any(map(_has_negative, arrays.values()))}
    sheet = Sheet(len(arrays), max(map(len, arrays.values())), first.shape[1:], **scale, labels=list(arrays))
    for row, (name, array) in enumerate(arrays.items()):
        for column, image in enumerate(array):
            sheet.show(image, row, column, label="" if column else name)
    return sheet.finish(unit)


def plot_pairs(
    left: Images,
    right: Images,
    captions: Sequence[str],
    *,
    names: tuple[str, str] = ("generated", "nearest in train"),
    unit: str = "ADC",
) -> Figure:
    """Plot pairs of images with a caption above each, four pairs per row.

    Args:
        left: (n, C, H, W) in charge units.
        right: (n, C, H, W).
        captions: (n,).
        names: What is left and what is right.
        unit: Unit of charge.

    Raises:
        DataError: No pairs, different numbers, or images of different shapes.
    """
    a, b = as_images(left, names[0]), as_images(right, names[1])
    if a.shape != b.shape or len(captions) != len(a):
        raise DataError(f"pairs: expected as many images and captions, got {a.shape} left, {b.shape} right and {len(captions)} captions.")
    both = np.concatenate([a, b], axis=1)
    columns = min(_PAIRS_PER_ROW, len(both))
    heading = f"each pair: {names[0]} | {names[1]}"
    sheet = Sheet(math.ceil(len(both) / columns), columns, both.shape[1:], **colour_scale(both), captions=captions, heading=heading)
    for i, pair in enumerate(both):
        sheet.show(pair, *divmod(i, columns), caption=captions[i])
    return sheet.finish(unit)


def colour_scale(images: FloatArray, vmax: float | None = None) -> dict[str, Any]:
    """Return ``vmax``, by default the 99.5 % quantile of |charge| that is not 0, and ``signed``."""
    magnitude = np.abs(images[images != 0])
    brightest = float(np.quantile(magnitude, 0.995)) if magnitude.size else 1.0
    return {"vmax": vmax or brightest, "signed": _has_negative(images)}


def _has_negative(images: FloatArray) -> bool:
    return bool((images < 0).any())
