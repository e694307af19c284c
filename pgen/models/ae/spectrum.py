"""The charge spectrum of lit pixels, kept as it is in real images.

A decoder trained by squared error answers with the mean of what a pixel may hold, so that decoded charges bunch: too few dim and too few
bright pixels. Matching the quantiles of decoded charge to those of real charge (a monotone map) gives the spectrum back, and with it the
total charge and the occupancy above any threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 64
#: Least weight of a new batch in the running means of the quantiles.
RATE = 0.02


class ChargeSpectrum(nn.Module):
    """forward: decoded charge to calibrated charge, of any shape, both in charge units. The identity before the first ``follow``."""

    real: Tensor
    decoded: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real", torch.zeros(KNOTS))
        self.register_buffer("decoded", torch.zeros(KNOTS))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, real: Tensor, decoded: Tensor) -> None:
        """Learn from the charges of lit pixels of a batch, (n,) real and (m,) decoded; an empty batch says nothing."""
        if not len(real) or not len(decoded):
            return
        self.batches += 1
        weight = max(RATE, 1 / int(self.batches))
        self.real.lerp_(_quantiles(real), weight)
        self.decoded.lerp_(_quantiles(decoded), weight)

    def forward(self, charge: Tensor) -> Tensor:
        above = torch.searchsorted(self.decoded, charge.detach().contiguous()).clamp(1, KNOTS - 1)
        x0, x1, y0, y1 = self.decoded[above - 1], self.decoded[above], self.real[above - 1], self.real[above]
        inside = y0 + (y1 - y0) * ((charge - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
        # Beyond the brightest pixel seen, in proportion.
        last = self.real[-1] / self.decoded[-1].clamp_min(1e-12)
        calibrated = torch.where(charge > self.decoded[-1], charge * last, inside)
        return torch.where(self.batches > 0, calibrated, charge)


def _quantiles(values: Tensor) -> Tensor:
    """KNOTS quantiles of (n,) values, closer together towards the bright end, whose tail is long."""
    place = 1 - (1 - torch.linspace(0, 1, KNOTS, device=values.device)).square()
    return values.float().sort().values[(place * (len(values) - 1)).round().long()]
