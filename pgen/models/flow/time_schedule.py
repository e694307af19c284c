"""The times between noise and targets at which a flow is trained and sampled.

The target of some noise is decided while noise still far outweighs the targets, if these have many
components: with noise of s times their spread, D components distinguish (1 + 1 / s^2)^(D/2) targets
(Shannon 1948). So in half of the times noise outweighs targets by more than the s at which all
targets are distinguished, in half by less. Uniform times are shifted accordingly, as for large
images in arXiv:2403.03206.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log
from typing import TypeVar

from torch import Tensor

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class TimeSchedule:
    """Times t in [0, 1], where noise and targets are mixed as (1 - t) to t.

    Attributes:
        shift: The s above; 1 leaves times uniform.
    """

    shift: float = 1.0

    @classmethod
    def from_targets(cls, count: int, size: int) -> TimeSchedule:
        """Create the schedule for ``count`` targets of ``size`` components."""
        return cls(max(1.0, expm1(2 * log(max(2, count)) / size) ** -0.5))

    def __call__(self, uniform: T) -> T:
        """Map uniform numbers in [0, 1] to times."""
        return uniform / (uniform + self.shift * (1 - uniform))

    def step_bounds(self, steps: int) -> list[float]:
        """Return where a number of steps begin and end."""
        return [self(k / steps) for k in range(steps + 1)]
