"""When a flow is looked at between noise and targets: at the times that matter, in training and in sampling.

Which target noise goes to is decided while it still outweighs targets by far, if these have many numbers: D numbers with noise of s times
their spread tell (1 + 1 / s^2)^(D/2) targets apart (Shannon 1948). So in half of the times noise outweighs targets by more than the s at
which these are all targets, in half by less: even times are shifted, as those of arXiv:2403.03206 are for large images.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log
from typing import TypeVar

from torch import Tensor

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class Times:
    """Times t in [0, 1] of noise and targets mixed as (1 - t) to t. shift: s above; 1 leaves times even."""

    shift: float = 1.0

    @classmethod
    def of(cls, count: int, size: int) -> Times:
        """Of a flow to ``count`` targets of ``size`` numbers."""
        return cls(max(1.0, expm1(2 * log(max(2, count)) / size) ** -0.5))

    def __call__(self, even: T) -> T:
        """Times of numbers that lie evenly in [0, 1]."""
        return even / (even + self.shift * (1 - even))

    def of_steps(self, steps: int) -> list[float]:
        """Where so many steps begin and end."""
        return [self(k / steps) for k in range(steps + 1)]
