"""Integration of a flow in steps with fresh noise: what the network gets wrong in one step, the next ones mend.

Where noise x0 is normal and independent of the target x1, the score of x = (1 - t) x0 + t x1 follows from the velocity v: it is
(t v - x) / (1 - t). So dx = (v + churn / 2 (t v - x)) dt + sqrt(churn (1 - t)) dW goes through the same distributions as dx = v dt,
whatever the churn (Song et al. 2021, arXiv:2011.13456; Albergo et al. 2023, arXiv:2303.08797). With more of it earlier mistakes are
forgotten sooner, and steps have to be shorter: here it goes with their number.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

#: Churn of a step: how much of what there is it replaces by fresh noise and by what the network makes of it.
CHURN = 0.15


def integrate_with_noise(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor) -> Tensor:
    """x (n, ...) at t = 1, of normal noise (n, steps, ...): the first is x at t = 0, each of the others is for the end of a step. The last
    step ends without."""
    steps = noise.shape[1]
    h = 1 / steps
    x = noise[:, 0]
    for k in range(steps):
        t = k * h
        v = velocity(x, x.new_full(x.shape[:1], t))
        x = x + h * v + CHURN / 2 * (t * v - x)
        if k < steps - 1:
            x = x + (CHURN * (1 - t)) ** 0.5 * noise[:, k + 1]
    return x
