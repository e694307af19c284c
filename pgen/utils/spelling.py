"""Names of file formats and sizes of images as users type them.

The command line imports this for its help, so it imports nothing heavy.
"""

from __future__ import annotations

import re
from typing import Literal

Format = Literal["store", "npz", "png", "larcv3"]


def parse_size(text: str) -> tuple[int, int]:
    """Parse a size such as "64x96", or "64" for a square, into (rows, columns).

    Raises:
        ValueError: The text is neither.
    """
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
    if match is None:
        raise ValueError("expected ROWSxCOLUMNS such as 64x96, or one number for a square")
    return int(match[1]), int(match[2] or match[1])
