"""Images of a report that a browser draws itself: sparse, compressed, inside the page."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.images import FloatArray
from pgen.utils.text import shorten

#: Largest whole number that stands for a charge.
LEVELS = 32767
#: Colours of the scale that are sent to the browser.
COLOURS = 64


def encode_images(images: FloatArray) -> dict[str, Any]:
    """Encode images (n, C, H, W) for gallery.js.

    Charges are rounded to one of 65,535 levels between plus and minus the largest |charge|.

    Returns:
        n, shape (C, H, W), ``step`` (charge of a level), and ``data``: base64 of a raw deflate
        stream of three arrays, little-endian: (n,) uint32 numbers of pixels, then the uint32 places
        and the int16 levels of all pixels that are not 0.
    """
    flat = images.reshape(len(images), -1)
    image, place = np.nonzero(flat)
    charge = flat[image, place].astype(np.float64)
    step = float(np.abs(charge).max() / LEVELS) if charge.size else 1.0
    arrays = (
        np.bincount(image, minlength=len(images)).astype("<u4"),
        place.astype("<u4"),
        np.rint(charge / step).astype("<i2"),
    )
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join([*(compressor.compress(array.tobytes()) for array in arrays), compressor.flush()])
    return {"n": len(images), "shape": list(images.shape[1:]), "step": step, "data": base64.b64encode(packed).decode()}


def encode_columns(columns: Mapping[str, npt.NDArray]) -> dict[str, list[float | None]]:
    """Return columns (n,) of numbers as lists with five digits; None for NaN."""
    return {shorten(name): [None if np.isnan(v) else float(f"{v:.5g}") for v in values] for name, values in columns.items()}


def encode_colours(signed: bool) -> list[list[int]]:
    """Return the colours (COLOURS, 3) of the charge scale, as numbers up to 255."""
    from pgen.report.figures.image_axes import charge_colours

    colours = charge_colours(signed)(np.linspace(0, 1, COLOURS))
    return [[round(255 * float(part)) for part in colour[:3]] for colour in colours]


def to_script(value: Any) -> str:
    """Return a value as JSON that may stand in a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
