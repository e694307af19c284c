"""The toy's detector: charge that drifts, diffuses and is shaped into pixels."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from pgen.data.simulation.energy_loss import Floats

#: cm / us, MicroBooNE.
DRIFT_SPEED = 0.11
#: cm2 / us, longitudinal and transverse diffusion: MicroBooNE, JINST 16 P09025 (2021), and its
#: transverse counterpart.
DIFFUSION = (3.7e-6, 5.9e-6)
#: cm, width along the drift that the shaping of the electronics adds.
SHAPING = 0.15
#: Pixels over which diffusion carries charge.
REACH = 2


def render_image(position: Floats, charge: Floats, drift: float, size: tuple[int, int], pitch: float) -> Floats:
    """Render the charge (rows, columns) of deposits.

    Args:
        position: (K, 2) of each deposit, in pixels.
        charge: (K,) of each deposit.
        drift: Drift length in cm.
        size: Rows and columns.
        pitch: Length of a pixel in cm.
    """
    pixels = np.zeros(size)
    if not len(position):
        return pixels
    corner = np.floor(position - 0.5).astype(np.int64)
    # Charge reaches only a small part of a large image; the rest stays 0.
    low = np.clip(corner.min(0) - REACH, 0, size)
    high = np.clip(corner.max(0) + 2 + REACH, low, size)
    window = _deposit(corner - low, position - 0.5 - corner, charge, high - low)
    pixels[low[0] : high[0], low[1] : high[1]] = _diffuse(window, drift, pitch)
    return pixels


def _deposit(corner: np.ndarray, fraction: Floats, charge: Floats, size: np.ndarray) -> Floats:
    """Sum charge in pixels, dividing each deposit between the four nearest pixel centres."""
    flat = np.zeros(size[0] * size[1])
    for dr in (0, 1):
        for dc in (0, 1):
            r, c = corner[:, 0] + dr, corner[:, 1] + dc
            weight = np.abs(1 - dr - fraction[:, 0]) * np.abs(1 - dc - fraction[:, 1]) * charge
            inside = (r >= 0) & (r < size[0]) & (c >= 0) & (c < size[1])
            flat += np.bincount(r[inside] * size[1] + c[inside], weight[inside], minlength=flat.size)
    return flat.reshape(size)


def _diffuse(pixels: Floats, drift: float, pitch: float) -> Floats:
    """Blur by diffusion over the drift length (cm), and along the drift by the electronics."""
    for axis, constant, more in ((0, DIFFUSION[0], SHAPING), (1, DIFFUSION[1], 0.0)):
        width = np.sqrt(2 * constant * drift / DRIFT_SPEED + more**2) / pitch + 1e-6
        taps = np.diff(ndtr((np.arange(-REACH, REACH + 2) - 0.5) / width))
        padded = np.pad(pixels, [(REACH, REACH) if k == axis else (0, 0) for k in range(2)])
        extent = pixels.shape[axis]
        views = (padded[k : k + extent] if axis == 0 else padded[:, k : k + extent] for k in range(2 * REACH + 1))
        pixels = sum(tap * view for tap, view in zip(taps, views, strict=True))
    return pixels
