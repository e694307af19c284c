"""The toy's detector: charge that drifts, diffuses and is shaped into pixels."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from pgen.data.simulation.energy_loss import Floats

DRIFT_SPEED = 0.11  #: cm / us, MicroBooNE
#: cm2 / us, longitudinal and transverse diffusion: MicroBooNE, JINST 16 P09025 (2021), and its transverse counterpart
DIFFUSION = (3.7e-6, 5.9e-6)
SHAPING = 0.15  #: cm; width along the drift that the electronics' shaping leaves
REACH = 2  #: pixels that diffusion carries charge


def picture(at: Floats, charge: Floats, drift: float, size: tuple[int, int], pitch: float) -> Floats:
    """Charge (rows, columns) of deposits at ``at`` (K, 2), in pixels, after a drift of ``drift`` cm; ``pitch``: of the pixels, in cm."""
    pixels = np.zeros(size)
    if not len(at):
        return pixels
    corner = np.floor(at - 0.5).astype(np.int64)
    # Of a large picture only a small part is reached by charge; the rest stays 0.
    low = np.clip(corner.min(0) - REACH, 0, size)
    high = np.clip(corner.max(0) + 2 + REACH, low, size)
    part = _project(corner - low, at - 0.5 - corner, charge, high - low)
    pixels[low[0] : high[0], low[1] : high[1]] = _diffuse(part, drift, pitch)
    return pixels


def _project(corner: np.ndarray, share: Floats, charge: Floats, size: np.ndarray) -> Floats:
    """Charge summed in pixels, each deposit shared between the four nearest pixel centres, so that steps leave no pattern."""
    flat = np.zeros(size[0] * size[1])
    for dr in (0, 1):
        for dc in (0, 1):
            r, c = corner[:, 0] + dr, corner[:, 1] + dc
            weight = np.abs(1 - dr - share[:, 0]) * np.abs(1 - dc - share[:, 1]) * charge
            inside = (r >= 0) & (r < size[0]) & (c >= 0) & (c < size[1])
            flat += np.bincount(r[inside] * size[1] + c[inside], weight[inside], minlength=flat.size)
    return flat.reshape(size)


def _diffuse(pixels: Floats, drift: float, pitch: float) -> Floats:
    """Blurred by the diffusion over the drift length (cm); along the drift by the electronics' shaping too."""
    for axis, constant, more in ((0, DIFFUSION[0], SHAPING), (1, DIFFUSION[1], 0.0)):
        width = np.sqrt(2 * constant * drift / DRIFT_SPEED + more**2) / pitch + 1e-6
        taps = np.diff(ndtr((np.arange(-REACH, REACH + 2) - 0.5) / width))
        padded = np.pad(pixels, [(REACH, REACH) if each == axis else (0, 0) for each in range(2)])
        extent = pixels.shape[axis]
        views = (padded[k : k + extent] if axis == 0 else padded[:, k : k + extent] for k in range(2 * REACH + 1))
        pixels = sum(tap * view for tap, view in zip(taps, views, strict=True))
    return pixels
