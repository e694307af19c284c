"""The |charge| of pixels above threshold, kept as it is in real images: in total, and in its spread within an image.

A decoder trained by squared error answers with the mean of what a pixel may hold, so that the charges it gives within an image bunch:
too few dim and too few bright pixels. Matching the quantiles of relative charge (that of a pixel over the mean of its image's lit pixels)
to those of real images, a monotone map, gives the spread back, and with it the occupancy above any threshold. How bright an image is as a
whole stays the decoder's answer, times one gain that keeps the total.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 64
#: Least weight of a new batch in the running means: they go back over some twelve of those that are looked at.
RATE = 0.08


class ChargeSpectrum(nn.Module):
    """forward: decoded charge of lit pixels to calibrated charge, in charge units. The identity before the first ``follow``."""

    real: Tensor
    decoded: Tensor
    means: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Quantiles of relative charge, and (real, decoded) mean charge of an image.
        self.register_buffer("real", torch.ones(KNOTS))
        self.register_buffer("decoded", torch.ones(KNOTS))
        self.register_buffer("means", torch.ones(2))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, real: Tensor, is_lit: Tensor, decoded: Tensor, lit: Tensor) -> None:
        """Learn from a batch of real and decoded charges (n, C, H, W) and their lit pixels, True where lit; a blank batch says nothing."""
        if not is_lit.any() or not lit.any():
            return
        self.batches += 1
        weight = max(RATE, 1 / int(self.batches))
        self.real.lerp_(_quantiles(_relative(real, is_lit)[is_lit]), weight)
        self.decoded.lerp_(_quantiles(_relative(decoded, lit)[lit]), weight)
        self.means.lerp_(torch.stack([(real * is_lit).sum(), (decoded * lit).sum()]) / len(real), weight)

    def forward(self, charge: Tensor, lit: Tensor) -> Tensor:
        """Charge (n, C, H, W) of the pixels that are ``lit``, 0 elsewhere."""
        matched = self._match(_relative(charge, lit)) * lit
        calibrated = matched / _mean(matched, lit) * _mean(charge, lit) * (self.means[0] / self.means[1].clamp_min(1e-12))
        return torch.where(self.batches > 0, calibrated, charge * lit)

    def _match(self, relative: Tensor) -> Tensor:
        above = torch.searchsorted(self.decoded, relative.detach().contiguous()).clamp(1, KNOTS - 1)
        x0, x1, y0, y1 = self.decoded[above - 1], self.decoded[above], self.real[above - 1], self.real[above]
        inside = y0 + (y1 - y0) * ((relative - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
        # Beyond the brightest pixel seen, in proportion.
        return torch.where(relative > self.decoded[-1], relative * self.real[-1] / self.decoded[-1].clamp_min(1e-12), inside)


def _mean(charge: Tensor, lit: Tensor) -> Tensor:
    """Mean over the lit pixels of each image, (n, 1, 1, 1); not 0, even for a blank one."""
    total = (charge * lit).sum(dim=(1, 2, 3), keepdim=True)
    return (total / lit.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)).clamp_min(1e-12)


def _relative(charge: Tensor, lit: Tensor) -> Tensor:
    return charge / _mean(charge, lit)


def _quantiles(values: Tensor) -> Tensor:
    """KNOTS quantiles of (n,) values, closer together towards the bright end, whose tail is long."""
    place = 1 - (1 - torch.linspace(0, 1, KNOTS, device=values.device)).square()
    return values.float().sort().values[(place * (len(values) - 1)).round().long()]
