"""Integration of dx/dt = v(x, t).

Few lines of our own: an adaptive solver's number of steps depends on the data, which an exported program cannot follow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: Sequence[float], solver: str) -> Tensor:
    """x (n, ...) at the last of times, of x at the first. ``euler``: first order, an evaluation a step; ``heun``: second order, two."""
    for t, end in itertools.pairwise(times):
        h, v = end - t, velocity(x, x.new_full(x.shape[:1], t))  # (a length would fix the number of samples in an exported program)
        if solver == "heun":
            v = (v + velocity(x + h * v, x.new_full(x.shape[:1], end))) / 2
        x = x + h * v
    return x
