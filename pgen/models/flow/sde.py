"""Integration of a flow in steps with fresh noise: what the network gets wrong in one step, the next ones mend.

The velocity v at x = (1 - t) x0 + t x1 says what x is made of, as far as the network knows: noise x0 = x - t v and a target
x1 = x + (1 - t) v. Where noise is normal and independent of its target, noise as good may take its place at the next time, and whatever
share of it is replaced, x goes through the same distributions as by dx = v dt, if steps are short (Song et al. 2021, arXiv:2010.02502,
whose eta is the root of the share). The more is replaced, the sooner earlier mistakes are forgotten, and the shorter steps have to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor

#: Share of the noise that a step replaces.
FRESH = 0.3


def integrate_with_noise(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, times: Sequence[float]) -> Tensor:
    """x (n, ...) at t = 1, the last of times, of normal noise (n, len(times) - 1, ...): the first is x at t = 0, the first of times, each
    of the others is for the end of a step. The last step ends without."""
    x = noise[:, 0]
    for k, (t, end) in enumerate(itertools.pairwise(times), start=1):
        v = velocity(x, x.new_full(x.shape[:1], t))
        x0, x1 = x - t * v, x + (1 - t) * v
        if k < noise.shape[1]:
            x0 = (1 - FRESH) ** 0.5 * x0 + FRESH**0.5 * noise[:, k]
        x = (1 - end) * x0 + end * x1
    return x
