"""Integration of a flow in steps with fresh noise: what the network gets wrong in one step, the next ones mend.

At x = (1 - t) x0 + t x1 noise outweighs the target by r = (1 - t) / t. Where noise is normal and independent of its target, adding fresh
noise to x / t makes it a point of the flow at an earlier time, exactly. So each step first goes back, then follows the velocity to its end
(Karras et al. 2022, arXiv:2206.00364, algorithm 2). How far back is a multiple of what the step is to go on, in squares of r: short steps
add little noise each, and as much in all. The more is added, the sooner earlier mistakes are forgotten, and the shorter steps have to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor

from pgen.models.flow.ode import integrate

#: Variance of the fresh noise of a step over the variance of noise that the step is to take away.
FRESH = 4.0


def integrate_with_noise(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, times: Sequence[float]) -> Tensor:
    """x (n, ...) at t = 1, the last of times, of normal noise (n, len(times) - 1, ...): the first is x at t = 0, the first of times, each
    of the others is what a later step adds. Steps are Heun's, of two evaluations."""
    x = noise[:, 0]
    for k, (t, end) in enumerate(itertools.pairwise(times)):
        if k:
            now, then = (1 - t) / t, (1 - end) / end
            added = (FRESH * (now**2 - then**2)) ** 0.5
            back = 1 / (1 + (now**2 + added**2) ** 0.5)
            x, t = back * (x / t + added * noise[:, k]), back
        x = integrate(velocity, x, (t, end), "heun")
    return x
