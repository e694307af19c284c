"""Nearest neighbours of mostly dark images on the CPU: of each pixel the images that it is lit in, compiled by Numba."""

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
    lit: Ints,
    own: Ints,
    first: int,
    last: int,
    distance: NDArray[np.float32],
    index: Ints,
) -> None:
    """Of queries ``first`` to ``last`` the nearest reference image by Hamming and by Jaccard distance, the first of equal ones.

    Lit pixels of query q are ``pixels[starts[q]:starts[q + 1]]``; the reference images in which pixel p is lit are
    ``images[heads[p]:heads[p + 1]]``. lit (M,): lit pixels of each of them. own (N,): one that is not a neighbour, or -1. Written:
    distance and index (2, N). A query costs as many steps as its pixels are lit in reference images, and M more.
    """
    shared = np.zeros(len(lit), np.int32)
    for query in range(first, last):
        shared[:] = 0
        for at in range(starts[query], starts[query + 1]):
            pixel = pixels[at]
            for flat_index in range(heads[pixel], heads[pixel + 1]):
                shared[images[flat_index]] += 1
        count = starts[query + 1] - starts[query]
        fewest, nearest = np.int64(2**62), 0
        most, of, closest = np.int64(-1), np.int64(1), 0
        for other in range(len(lit)):
            if other == own[query]:
                continue
            both, total = np.int64(shared[other]), count + lit[other]
            differ = total - 2 * both
            if differ < fewest:
                fewest, nearest = differ, other
            union = max(total - both, 1)
            if both * of > most * union:  # both / union > most / of, exactly
                most, of, closest = both, union, other
        distance[0, query], index[0, query] = fewest, nearest
        distance[1, query], index[1, query] = np.float32(1) - np.float32(most) / np.float32(of), closest
