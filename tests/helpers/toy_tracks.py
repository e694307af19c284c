"""Toy tracks: two straight tracks an image, of random place, direction, length and charge."""

import numpy as np


def tracks(n: int, seed: int, size: int = 32) -> np.ndarray:
    """(n, 1, size, size) float32."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 1, size, size), np.float32)
    for _ in range(2):
        x, y = rng.uniform(0, size, (2, n))
        angle, length = rng.uniform(0, 2 * np.pi, n), rng.uniform(5, size, n)
        for t in np.linspace(0, 1, 2 * size):
            column, row = (x + t * length * np.cos(angle)).astype(int), (y + t * length * np.sin(angle)).astype(int)
            inside = np.flatnonzero((column >= 0) & (column < size) & (row >= 0) & (row < size))
            images[inside, 0, row[inside], column[inside]] += rng.gamma(5, 2, len(inside)).astype(np.float32)
    return images


def noisy(images: np.ndarray, seed: int) -> np.ndarray:
    """Copies that have lost a tenth of their lit pixels and gained one in 500 dark ones."""
    rng = np.random.default_rng(seed)
    draw = rng.random(images.shape)
    return np.where(images > 0, images * (draw > 0.1), 10 * (draw < 0.002)).astype(np.float32)
