"""Nearest neighbours of sparse binary images on the CPU, by an inverted index of pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pgen.utils.caches import compiled

Ints = NDArray[np.int64]


@compiled(nogil=True)
def search(
    starts: Ints,
    pixels: NDArray[np.int32],
    heads: Ints,
    images: NDArray[np.int32],
    n_pixels: Ints,
    own: Ints,
    first: int,
    last: int,
    distance: NDArray[np.float32],
    index: Ints,
) -> None:
    """Find the nearest reference image of queries ``first`` to ``last`` by both distances.

    Of equally near ones it is the first.

    A query takes as many steps as there are reference images with its pixels, and M more.

    Args:
        starts: (N + 1,) the pixels of query q are ``pixels[starts[q]:starts[q + 1]]``.
        pixels: Flat pixel indices of the queries.
        heads: (D + 1,) the reference images with pixel p are ``images[heads[p]:heads[p + 1]]``.
        images: Indices of reference images.
        n_pixels: (M,) number of pixels of each reference image.
        own: (N,) a reference image that is not a neighbour of the query, or -1.
        first: First query.
        last: Query after the last one.
        distance: (2, N) output.
        index: (2, N) output.
    """
    shared = np.zeros(len(n_pixels), np.int32)
    for query in range(first, last):
        shared[:] = 0
        for position in range(starts[query], starts[query + 1]):
            pixel = pixels[position]
            for entry in range(heads[pixel], heads[pixel + 1]):
                shared[images[entry]] += 1
        count = starts[query + 1] - starts[query]
        fewest, nearest = np.int64(2**62), 0
        most, most_union, closest = np.int64(-1), np.int64(1), 0
        for other in range(len(n_pixels)):
            if other == own[query]:
                continue
            both, total = np.int64(shared[other]), count + n_pixels[other]
            differ = total - 2 * both
            if differ < fewest:
                fewest, nearest = differ, other
            union = max(total - both, 1)
            if both * most_union > most * union:  # both / union > most / most_union, exactly
                most, most_union, closest = both, union, other
        distance[0, query], index[0, query] = fewest, nearest
        distance[1, query], index[1, query] = np.float32(1) - np.float32(most) / np.float32(most_union), closest
