"""Sets of images in parts that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgen.data.images import ImageSet

#: Bytes of a part, its pixels dense.
BYTES = 32 * 2**20


def chunk_ranges(images: ImageSet, bytes_each: int = BYTES, start: int = 0) -> Iterator[range]:
    """Indices of all images from ``start`` on, part by part: what keeps a pass over any set in bounded memory."""
    step = max(1, bytes_each // (4 * prod(images.shape)))
    for first in range(start, len(images), step):
        yield range(first, min(first + step, len(images)))
