"""Strata of image space: k-means clusters of pooled images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.cluster.vq import vq

#: Images are pooled to this size: fine enough for track directions, coarse enough for k-means to be
#: meaningful.
_GRID = 8
_ITERATIONS = 20


class KMeansStrata:
    """Clusters of binary training images by k-means.

    Args:
        bits: (N, D) bool, pixels of the training images.
        shape: (C, H, W) with C * H * W = D.
        k: Number of clusters; fewer if there are fewer distinct images.
        rng: Random numbers for the first centres.
    """

    def __init__(self, bits: torch.Tensor, shape: tuple[int, ...], k: int, rng: np.random.Generator) -> None:
        self.shape = shape
        features = self._pool(bits)
        distinct = np.unique(features, axis=0)
        self.centres = distinct[rng.choice(len(distinct), min(k, len(distinct)), replace=False)]
        # Not sklearn's KMeans: it centres the data first and relocates empty clusters, so that
        # images at a border would change strata, and the Z of published results with them.
        for _ in range(_ITERATIONS):
            label = vq(features, self.centres)[0]
            self.centres = np.stack(
                [features[label == i].mean(0) if (label == i).any() else centre for i, centre in enumerate(self.centres)]
            )

    def predict(self, bits: torch.Tensor) -> npt.NDArray[np.int64]:
        """Return the cluster (N,) of each of (N, D) binary images."""
        return vq(self._pool(bits), self.centres)[0].astype(np.int64)

    def _pool(self, bits: torch.Tensor) -> npt.NDArray[np.float64]:
        rows, columns = (min(_GRID, size) for size in self.shape[1:])
        pooled = [
            torch.nn.functional.adaptive_avg_pool2d(batch.reshape(-1, *self.shape).float(), (rows, columns)).flatten(1).double().cpu()
            for batch in bits.split(1024)
        ]
        return torch.cat(pooled).numpy()
