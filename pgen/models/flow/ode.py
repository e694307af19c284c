"""Integration of dx/dt = v(x, t) from t = 0 to 1 in equal steps.

Few lines of our own: an adaptive solver's number of steps depends on the data, which an exported program cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, steps: int, solver: str) -> Tensor:
    """x (n, ...) at t = 1, of x at t = 0. ``euler``: first order, an evaluation a step; ``heun``: second order, two."""
    h = 1 / steps
    for k in range(steps):
        v = velocity(x, x.new_full(x.shape[:1], k * h))  # (a length would fix the number of samples in an exported program)
        if solver == "heun":
            v = (v + velocity(x + h * v, x.new_full(x.shape[:1], (k + 1) * h))) / 2
        x = x + h * v
    return x
