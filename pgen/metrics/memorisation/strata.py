"""Cells of image space, found by k-means on where the light of an image lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import vq

_GRID = 8  # images are pooled to 8 x 8: fine enough to tell track directions, coarse enough for k-means to mean something
_ROUNDS = 20


class KMeansStrata:
    """k cells, each the images nearest to one of k centres of train (Lloyd's algorithm).

    Args:
        bits: (N, D) bool, the pixels of binary images.
        shape: (C, H, W) with C * H * W = D.
        k: wanted cells; fewer where train has fewer distinct images.
    """

    def __init__(self, bits: torch.Tensor, shape: tuple[int, ...], k: int, rng: np.random.Generator) -> None:
        self.shape = shape
        features = self._features(bits)
        distinct = np.unique(features, axis=0)
        self.centres = distinct[rng.choice(len(distinct), min(k, len(distinct)), replace=False)]
        for _ in range(_ROUNDS):
            label = vq(features, self.centres)[0]
            self.centres = np.stack([features[label == i].mean(0) if (label == i).any() else c for i, c in enumerate(self.centres)])

    def of(self, bits: torch.Tensor) -> npt.NDArray[np.int64]:
        """(N,) the cell of each of (N, D) images."""
        return vq(self._features(bits), self.centres)[0].astype(np.int64)

    def _features(self, bits: torch.Tensor) -> npt.NDArray[np.float64]:
        rows, columns = (min(_GRID, size) for size in self.shape[1:])
        parts = [
            torch.nn.functional.adaptive_avg_pool2d(part.reshape(-1, *self.shape).float(), (rows, columns)).flatten(1).double().cpu()
            for part in bits.split(1024)
        ]
        return torch.cat(parts).numpy()
