"""Labels of different files made comparable: 13, 13.0, "13" and b"13" are one particle."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.errors import PgenError
from pgen.utils.text import shorten

#: Text that stands for a boolean.
BOOLEANS = {"true": 1.0, "false": 0.0}


def plain_labels(values: npt.ArrayLike) -> npt.NDArray:
    """Return labels as an array of numbers, booleans or text: bytes are decoded, objects unwrapped.

    Raises:
        UserError: values that are none of these.
    """
    array = np.asarray(values)
    if array.dtype.kind == "O":
        array = np.array([value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in array.ravel().tolist()])
        array = array.reshape(np.shape(values))
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "biufU":
        raise PgenError(f"Labels of type {array.dtype} cannot be compared; wanted numbers or text.")
    return array


def convert_labels(values: npt.ArrayLike, reference: npt.ArrayLike, name: str) -> npt.NDArray:
    """Convert labels to the type of others, so that labels of one meaning are equal.

    A label that the reference has in another form (a whole number as a float or as text, a float of
    another precision) becomes the reference's own value. Numbers that the reference's type cannot hold
    stay floats.

    Args:
        values: labels of any shape.
        reference: labels of the set to compare with, as a rule the training images'.
        name: what to call the labels in an error.

    Raises:
        UserError: text that is no number, where the reference holds numbers.
    """
    labels, known = plain_labels(values), plain_labels(reference)
    if known.dtype.kind == "U":
        texts = set(known.ravel().tolist())
        by_number = {_number(text): text for text in sorted(texts)}
        return _mapped(labels, lambda value: value if value in texts else by_number.get(_number(value), _text(value)), np.str_)
    if labels.dtype.kind == "U":
        if strange := [text for text in np.unique(labels).tolist() if isinstance(_number(text), str)]:
            raise PgenError(f"{name}: {shorten(strange[0])!r} is no number, as the labels to compare with are; convert one of them.")
        labels = _mapped(labels, _number, np.float64)
    if known.dtype.kind == "f":
        return _nearest_known(labels, known)
    with np.errstate(invalid="ignore"):
        exact = labels.astype(known.dtype)
    return exact if np.array_equal(exact, labels) else labels.astype(np.float64)


def _nearest_known(labels: npt.NDArray, known: npt.NDArray) -> npt.NDArray:
    """Numbers in the type of ``known``; those that were rounded to fewer digits take the known value that rounds to them."""
    if known.size and labels.dtype.kind == "f" and labels.dtype.itemsize < known.dtype.itemsize:
        exact = np.unique(known)
        rounded = exact.astype(labels.dtype)
        place = np.searchsorted(rounded, labels).clip(max=len(rounded) - 1)
        return np.where(rounded[place] == labels, exact[place], labels.astype(known.dtype))
    return labels.astype(known.dtype)


def _mapped(labels: npt.NDArray, convert: Callable[[Any], Any], dtype: Any) -> npt.NDArray:
    distinct, place = np.unique(labels, return_inverse=True)
    return np.array([convert(value) for value in distinct], dtype=dtype)[place].reshape(labels.shape)


def _number(value: Any) -> float | str:
    """What a label counts as: a number, or text that is none."""
    text = str(value).strip()
    try:
        number = BOOLEANS[text.lower()] if text.lower() in BOOLEANS else float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, np.floating) and value.is_integer() else str(value)
