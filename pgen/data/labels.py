"""Labels of different files made comparable: 13, 13.0, "13" and b"13" are one particle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.errors import DataError
from pgen.utils.text import shorten

#: A label with at most this many different values is a class; another one is a number.
CLASSES = 12
#: Text that means a boolean.
BOOLEANS = {"true": 1.0, "false": 0.0}


def plain_labels(values: npt.ArrayLike) -> npt.NDArray:
    """Return labels as an array of numbers, booleans or text: bytes are decoded, objects unwrapped.

    Raises:
        DataError: If the values are none of these.
    """
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.array([value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in array.ravel().tolist()])
        array = array.reshape(np.shape(values))
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "biufU":
        raise DataError(f"Labels of type {array.dtype} cannot be compared; expected numbers or text.")
    return array


def convert_labels(values: npt.ArrayLike, reference: npt.ArrayLike, name: str) -> npt.NDArray:
    """Convert labels to the type of others, so that labels of one meaning are equal.

    A label that the reference has in another form (a whole number as a float or as text, a float of
    another precision) becomes the reference's own value. Numbers that the reference's type cannot
    hold stay floats.

    Args:
        values: Labels of any shape.
        reference: Labels of the set to compare with, usually the training images'.
        name: What to call the labels in an error.

    Raises:
        DataError: If a label is text that is no number, and the reference holds numbers.
    """
    labels, target = plain_labels(values), plain_labels(reference)
    if target.dtype.kind == "U":
        texts = set(target.ravel().tolist())
        by_number = {_parse_number(text): text for text in sorted(texts)}
        return _map_distinct(
            labels, lambda value: value if value in texts else by_number.get(_parse_number(value), _format(value)), np.str_
        )
    if labels.dtype.kind == "U":
        if strange := [text for text in np.unique(labels).tolist() if isinstance(_parse_number(text), str)]:
            raise DataError(f"{name}: {shorten(strange[0])!r} is no number, as the labels to compare with are; convert one of them.")
        labels = _map_distinct(labels, _parse_number, np.float64)
    if target.dtype.kind == "f":
        return _restore_precision(labels, target)
    with np.errstate(invalid="ignore"):
        exact = labels.astype(target.dtype)
    return exact if np.array_equal(exact, labels) else labels.astype(np.float64)


def _restore_precision(labels: npt.NDArray, target: npt.NDArray) -> npt.NDArray:
    """Convert numbers to the type of ``target``; undo rounding to fewer digits."""
    if target.size and labels.dtype.kind == "f" and labels.dtype.itemsize < target.dtype.itemsize:
        exact = np.unique(target)
        rounded = exact.astype(labels.dtype)
        place = np.searchsorted(rounded, labels).clip(max=len(rounded) - 1)
        return np.where(rounded[place] == labels, exact[place], labels.astype(target.dtype))
    return labels.astype(target.dtype)


def _map_distinct(labels: npt.NDArray, convert: Callable[[Any], Any], dtype: Any) -> npt.NDArray:
    distinct, place = np.unique(labels, return_inverse=True)
    return np.array([convert(value) for value in distinct], dtype=dtype)[place].reshape(labels.shape)


def _parse_number(value: Any) -> float | str:
    """Return a label as a number if it is one, else as text."""
    text = str(value).strip()
    try:
        number = BOOLEANS[text.lower()] if text.lower() in BOOLEANS else float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _format(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.floating) and value.is_integer() else str(value)
