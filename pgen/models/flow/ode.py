"""Integrators of a flow, dx/dt = v(x, t), with fixed steps.

An adaptive solver's number of steps depends on the data, which an exported program cannot follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor

#: η²: variance of a step's fresh noise over that of the noise that the step removes.
ETA_SQUARED = 4.0


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Sequence[float], solver: str) -> Tensor:
    """Integrate from the first to the last of some times.

    Args:
        velocity: v(x, t) (n, ...) of x (n, ...) and t (n,).
        x: (n, ...) at the first time.
        times: Where steps begin and end.
        solver: ``euler`` (first order, one evaluation per step) or ``heun`` (second order, two).

    Returns:
        (n, ...) x at the last time.
    """
    for t, end in itertools.pairwise(times):
        # (len(x) would fix the number of samples in an exported program)
        h, v = end - t, velocity(x, x.new_full(x.shape[:1], t))
        if solver == "heun":
            v = (v + velocity(x + h * v, x.new_full(x.shape[:1], end))) / 2
        x = x + h * v
    return x


def integrate_with_noise(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate with fresh noise in each step, which corrects errors of the earlier ones.

    At x = (1 - t) x0 + t x1 noise outweighs the target by r = (1 - t) / t. If the noise is normal
    and independent of its target, adding fresh noise to x / t gives a point of the flow at an
    earlier time, exactly. Each step therefore first goes back, then integrates to its end by Heun's
    method (Karras et al. 2022, arXiv:2206.00364, algorithm 2). It is a DDIM-style stochastic
    sampler: the added variance is a multiple of the variance that the step removes, in units of r,
    so that short steps add little noise each, and the total does not depend on their number. More
    noise forgets earlier errors sooner, and needs shorter steps.

    Args:
        velocity: v(x, t) (n, ...) of x (n, ...) and t (n,).
        noise: (n, len(times) - 1, ...), normal: x at the first time, and what later steps add.
        times: Where steps begin and end, from 0 to 1.

    Returns:
        (n, ...) x at t = 1.
    """
    x = noise[:, 0]
    for k, (t, end) in enumerate(itertools.pairwise(times)):
        if k:
            ratio, ratio_at_end = (1 - t) / t, (1 - end) / end
            added = (ETA_SQUARED * (ratio**2 - ratio_at_end**2)) ** 0.5
            back = 1 / (1 + (ratio**2 + added**2) ** 0.5)
            x, t = back * (x / t + added * noise[:, k]), back
        x = integrate(velocity, x, (t, end), "heun")
    return x
