"""Nearest neighbours of binary images, by Hamming and by Jaccard distance, without ever holding an N x N matrix."""

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
_SPARSE = 0.05  # share of lit pixels under which a CPU goes by lit pixels
_BLOCK = (1024, 4096)  # queries x references: four float32 blocks of this size are 64 MiB


@dataclass(frozen=True)
class BinaryImages:
    """Images as lit or unlit pixels.

    Attributes:
        bits: (N, D) bool, on the device where distances are computed; D = C * H * W.
        lit: (N,) lit pixels of each image.
    """

    bits: torch.Tensor
    lit: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.bits)

    def take(self, indices: npt.NDArray[np.int64]) -> BinaryImages:
        return BinaryImages(self.bits[torch.from_numpy(indices).to(self.bits.device)], self.lit[indices])


def binarise(images: FloatArray, threshold: float, device: str | torch.device = "cpu") -> BinaryImages:
    """Pixels of images (N, C, H, W) whose |charge| is above ``threshold``."""
    return from_bits(torch.from_numpy(above_threshold(images, threshold).reshape(len(images), -1)).to(device))


def from_bits(bits: torch.Tensor) -> BinaryImages:
    return BinaryImages(bits, bits.sum(1).cpu().numpy())


@dataclass(frozen=True)
class Neighbours:
    """The nearest reference image of each query: for each name in DISTANCES, (N,) distances and (N,) indices into the reference.

    Of several at the same distance, the first is named.
    """

    distance: dict[str, npt.NDArray[np.float64]]
    index: dict[str, npt.NDArray[np.int64]]


def nearest(queries: BinaryImages, reference: BinaryImages, *, own: npt.NDArray[np.int64] | None = None) -> Neighbours:
    """The nearest image of ``reference`` for each of ``queries``.

    Hamming is the number of pixels that differ. Jaccard is 1 - |a and b| / |a or b|; two blank images share no lit pixel, so they
    are at distance 1 here (SciPy says 0): being blank is no evidence of being a copy. Both are exact, as they follow from integers.

    Args:
        own: (N,) for leave-one-out, the place of each query in ``reference``, which is not a neighbour of itself.
    """
    device = queries.bits.device
    if device.type == "cpu" and max(_occupancy(queries), _occupancy(reference)) < _SPARSE:
        return _by_lit_pixels(queries, reference, own)
    rows, columns = _BLOCK
    best = {name: torch.full((len(queries),), torch.inf, device=device) for name in DISTANCES}
    index = {name: torch.zeros(len(queries), dtype=torch.long, device=device) for name in DISTANCES}
    for left in range(0, len(reference), columns):
        right = min(left + columns, len(reference))
        for top in range(0, len(queries), rows):
            bottom = min(top + rows, len(queries))
            both = queries.bits[top:bottom].float() @ reference.bits[left:right].float().T  # exact up to 2^24 pixels, TF32 or not
            total = _lit(queries, top, bottom)[:, None] + _lit(reference, left, right)
            block = {"hamming": total - 2 * both, "jaccard": 1 - both / (total - both).clamp_(min=1)}
            for name, distance in block.items():
                if own is not None:
                    flat_index = own[top:bottom] - left
                    inside = np.flatnonzero((flat_index >= 0) & (flat_index < right - left))
                    distance[inside, flat_index[inside]] = torch.inf
                value, where = distance.min(1)
                closer = value < best[name][top:bottom]
                best[name][top:bottom][closer] = value[closer]
                index[name][top:bottom][closer] = where[closer] + left
    return Neighbours(
        {name: value.double().cpu().numpy() for name, value in best.items()},
        {name: value.cpu().numpy() for name, value in index.items()},
    )


def _lit(images: BinaryImages, start: int, stop: int) -> torch.Tensor:
    return torch.from_numpy(images.lit[start:stop]).to(images.bits.device, torch.float32)


def _occupancy(images: BinaryImages) -> float:
    return float(images.lit.mean()) / images.bits.shape[1]


def _by_lit_pixels(queries: BinaryImages, reference: BinaryImages, own: npt.NDArray[np.int64] | None) -> Neighbours:
    from pgen.metrics.memorisation import inverted_index as inverted

    asked, held = (scipy.sparse.csr_array(images.bits.numpy()) for images in (queries, reference))
    by_pixel = held.tocsc()
    starts, heads = asked.indptr.astype(np.int64), by_pixel.indptr.astype(np.int64)
    pixels, images = asked.indices.astype(np.int32), by_pixel.indices.astype(np.int32)
    excluded = np.full(len(queries), -1) if own is None else own
    distance, index = np.empty((2, len(queries)), np.float32), np.empty((2, len(queries)), np.int64)

    def search(first: int, last: int) -> None:
        inverted.search(starts, pixels, heads, images, reference.lit, excluded, first, last, distance, index)

    search(0, 0)  # Numba compiles it now, and not in several threads at once
    threads = torch.get_num_threads()
    bounds = np.linspace(0, len(queries), 8 * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, bounds[:-1], bounds[1:]))
    return Neighbours(
        {name: distance[k].astype(np.float64) for k, name in enumerate(DISTANCES)}, {name: index[k] for k, name in enumerate(DISTANCES)}
    )
