"""Nearest neighbours of binary images by Hamming and Jaccard distance, in blocks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

from pgen.data.images import FloatArray
from pgen.data.sparse import above_threshold

DISTANCES = ("hamming", "jaccard")
#: Occupancy below which the inverted index is faster on a CPU.
_SPARSE = 0.05
#: Queries x references: four float32 blocks of this size are 64 MiB.
_BLOCK = (1024, 4096)


@dataclass(frozen=True)
class BinaryImages:
    """Images as one bit per pixel.

    Attributes:
        bits: (N, D) bool, on the device where distances are computed; D = C * H * W.
        n_pixels: (N,) number of pixels that are True.
    """

    bits: torch.Tensor
    n_pixels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bits)

    def take(self, indices: npt.NDArray[np.int64]) -> BinaryImages:
        """Return the images at ``indices``."""
        return BinaryImages(self.bits[torch.from_numpy(indices).to(self.bits.device)], self.n_pixels[indices])


def binarise(images: FloatArray, threshold: float, device: str | torch.device = "cpu") -> BinaryImages:
    """Mark the pixels of images (N, C, H, W) whose |charge| is above ``threshold``."""
    return from_bits(torch.from_numpy(above_threshold(images, threshold).reshape(len(images), -1)).to(device))


def from_bits(bits: torch.Tensor) -> BinaryImages:
    """Count the pixels of binary images (N, D)."""
    return BinaryImages(bits, bits.sum(1).cpu().numpy())


@dataclass(frozen=True)
class Neighbours:
    """The nearest reference image of each query; of several at the same distance the first.

    Attributes:
        distance: Name in DISTANCES -> (N,) distances.
        index: Name in DISTANCES -> (N,) indices into the reference.
    """

    distance: dict[str, npt.NDArray[np.float64]]
    index: dict[str, npt.NDArray[np.int64]]


def nearest(queries: BinaryImages, reference: BinaryImages, *, own: npt.NDArray[np.int64] | None = None) -> Neighbours:
    """Find the nearest image of ``reference`` for each of ``queries``.

    The Hamming distance is the number of pixels that differ. The Jaccard distance is
    1 - |a and b| / |a or b|. Two blank images have Jaccard distance 1 (SciPy: 0), since being blank
    is no evidence of being a copy. Both are exact, as they follow from integers.

    Args:
        queries: N images.
        reference: M images.
        own: (N,) index of each query in ``reference``, for leave-one-out: it is not its own
            neighbour.
    """
    device = queries.bits.device
    if device.type == "cpu" and max(_occupancy(queries), _occupancy(reference)) < _SPARSE:
        return _search_inverted_index(queries, reference, own)
    rows, columns = _BLOCK
    best = {name: torch.full((len(queries),), torch.inf, device=device) for name in DISTANCES}
    index = {name: torch.zeros(len(queries), dtype=torch.long, device=device) for name in DISTANCES}
    for left in range(0, len(reference), columns):
        right = min(left + columns, len(reference))
        for top in range(0, len(queries), rows):
            bottom = min(top + rows, len(queries))
            both = queries.bits[top:bottom].float() @ reference.bits[left:right].float().T  # exact up to 2^24 pixels, TF32 or not
            total = _counts(queries, top, bottom)[:, None] + _counts(reference, left, right)
            block = {"hamming": total - 2 * both, "jaccard": 1 - both / (total - both).clamp_(min=1)}
            for name, distance in block.items():
                if own is not None:
                    position = own[top:bottom] - left
                    inside = np.flatnonzero((position >= 0) & (position < right - left))
                    distance[inside, position[inside]] = torch.inf
                value, where = distance.min(1)
                closer = value < best[name][top:bottom]
                best[name][top:bottom][closer] = value[closer]
                index[name][top:bottom][closer] = where[closer] + left
    return Neighbours(
        {name: value.double().cpu().numpy() for name, value in best.items()},
        {name: value.cpu().numpy() for name, value in index.items()},
    )


def _counts(images: BinaryImages, start: int, stop: int) -> torch.Tensor:
    return torch.from_numpy(images.n_pixels[start:stop]).to(images.bits.device, torch.float32)


def _occupancy(images: BinaryImages) -> float:
    return float(images.n_pixels.mean()) / images.bits.shape[1]


def _search_inverted_index(queries: BinaryImages, reference: BinaryImages, own: npt.NDArray[np.int64] | None) -> Neighbours:
    from pgen.metrics.memorisation import inverted_index

    query_rows, reference_rows = (scipy.sparse.csr_array(images.bits.numpy()) for images in (queries, reference))
    by_pixel = reference_rows.tocsc()
    starts, heads = query_rows.indptr.astype(np.int64), by_pixel.indptr.astype(np.int64)
    pixels, images = query_rows.indices.astype(np.int32), by_pixel.indices.astype(np.int32)
    excluded = np.full(len(queries), -1) if own is None else own
    distance, index = np.empty((2, len(queries)), np.float32), np.empty((2, len(queries)), np.int64)

    def search(first: int, last: int) -> None:
        inverted_index.search(starts, pixels, heads, images, reference.n_pixels, excluded, first, last, distance, index)

    search(0, 0)  # Numba compiles it now, and not in several threads at once
    threads = torch.get_num_threads()
    bounds = np.linspace(0, len(queries), 8 * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, bounds[:-1], bounds[1:]))
    return Neighbours(
        {name: distance[k].astype(np.float64) for k, name in enumerate(DISTANCES)}, {name: index[k] for k, name in enumerate(DISTANCES)}
    )
