"""Nearest neighbours of binary images, by Hamming and by Jaccard distance, without ever holding an N x N matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

from pgen.data.images import FloatArray

DISTANCES = ("hamming", "jaccard")
_SPARSE = 0.05  # share of lit pixels under which a sparse product on a CPU beats a dense one (20 times at 1 %)
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
    """Pixels > ``threshold`` of images (N, C, H, W)."""
    return from_bits(torch.from_numpy((images > threshold).reshape(len(images), -1)).to(device))


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
    rows, columns = _BLOCK
    device = queries.bits.device
    best = {name: torch.full((len(queries),), torch.inf, device=device) for name in DISTANCES}
    index = {name: torch.zeros(len(queries), dtype=torch.long, device=device) for name in DISTANCES}
    sparse = device.type == "cpu" and max(_occupancy(queries), _occupancy(reference)) < _SPARSE
    left_factor, right_factor = (_csr(images) if sparse else images.bits for images in (queries, reference))
    for left in range(0, len(reference), columns):
        right = min(left + columns, len(reference))
        for top in range(0, len(queries), rows):
            bottom = min(top + rows, len(queries))
            both = _inner(left_factor[top:bottom], right_factor[left:right])
            total = _lit(queries, top, bottom)[:, None] + _lit(reference, left, right)
            block = {"hamming": total - 2 * both, "jaccard": 1 - both / (total - both).clamp_(min=1)}
            for name, distance in block.items():
                if own is not None:
                    place = own[top:bottom] - left
                    inside = np.flatnonzero((place >= 0) & (place < right - left))
                    distance[inside, place[inside]] = torch.inf
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


def _csr(images: BinaryImages) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(images.bits.numpy(), dtype=np.float32)


def _inner(a: torch.Tensor | scipy.sparse.csr_array, b: torch.Tensor | scipy.sparse.csr_array) -> torch.Tensor:
    """The lit pixels that each row of ``a`` shares with each row of ``b``; float32 counts exactly up to 2^24 pixels, TF32 or not."""
    if isinstance(a, torch.Tensor):
        return a.float() @ b.float().T
    return torch.from_numpy((a @ b.T).toarray())
