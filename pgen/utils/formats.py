"""How formats and sizes of images are spelt. Imports no more than text needs, for the command line's sake."""

from __future__ import annotations

import re
from typing import Literal

Format = Literal["store", "npz", "png", "larcv3"]


def rows_columns(text: str) -> tuple[int, int]:
    """(rows, columns) of "64x96", or of "64" for a square. ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
    if match is None:
        raise ValueError("wanted ROWSxCOLUMNS such as 64x96, or one number for a square")
    return int(match[1]), int(match[2] or match[1])
