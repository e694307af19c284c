"""Calibrate the |charge| of pixels above threshold, in total and in its spread within an image.

A decoder trained by squared error returns the mean of what a pixel may hold, so that the charges
within an image bunch: too few dim and too few bright pixels. A monotone map of the quantiles of
relative charge (a pixel's charge over the mean of its image's nonzero pixels) to those of real
images restores the spread, and with it the occupancy above any threshold. The brightness of an
image as a whole stays the decoder's, times one gain that keeps the total.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KNOTS = 64
#: Smallest weight of a new batch in the running means, which then reach back some twelve batches.
RATE = 0.08


class ChargeSpectrum(nn.Module):
    """Maps decoded charge to calibrated charge; the identity before the first update.

    Attributes:
        real: (KNOTS,) quantiles of relative charge in real images.
        decoded: (KNOTS,) quantiles of relative charge in decoded images.
        means: (2,) mean charge of a real and of a decoded image.
        batches: Updates so far.
    """

    real: Tensor
    decoded: Tensor
    means: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real", torch.ones(KNOTS))
        self.register_buffer("decoded", torch.ones(KNOTS))
        self.register_buffer("means", torch.ones(2))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, real: Tensor, real_mask: Tensor, decoded: Tensor, decoded_mask: Tensor) -> None:
        """Update the running means; a batch without any charge is ignored.

        Args:
            real: (n, C, H, W) charge of real images.
            real_mask: (n, C, H, W) their nonzero pixels.
            decoded: (n, C, H, W) charge of decoded images.
            decoded_mask: (n, C, H, W) their nonzero pixels.
        """
        if not real_mask.any() or not decoded_mask.any():
            return
        self.batches += 1
        weight = max(RATE, 1 / int(self.batches))
        self.real.lerp_(_quantiles(_relative(real, real_mask)[real_mask]), weight)
        self.decoded.lerp_(_quantiles(_relative(decoded, decoded_mask)[decoded_mask]), weight)
        self.means.lerp_(torch.stack([(real * real_mask).sum(), (decoded * decoded_mask).sum()]) / len(real), weight)

    def forward(self, charge: Tensor, mask: Tensor) -> Tensor:
        """Calibrate the charge (n, C, H, W) of the pixels in the mask, and set the others to 0."""
        matched = self._match_quantiles(_relative(charge, mask)) * mask
        calibrated = matched / _mean(matched, mask) * _mean(charge, mask) * (self.means[0] / self.means[1].clamp_min(1e-12))
        return torch.where(self.batches > 0, calibrated, charge * mask)

    def _match_quantiles(self, relative: Tensor) -> Tensor:
        above = torch.searchsorted(self.decoded, relative.detach().contiguous()).clamp(1, KNOTS - 1)
        x0, x1, y0, y1 = self.decoded[above - 1], self.decoded[above], self.real[above - 1], self.real[above]
        inside = y0 + (y1 - y0) * ((relative - x0) / (x1 - x0).clamp_min(1e-12)).clamp(0, 1)
        # Beyond the brightest pixel so far, in proportion.
        return torch.where(relative > self.decoded[-1], relative * self.real[-1] / self.decoded[-1].clamp_min(1e-12), inside)


def _mean(charge: Tensor, mask: Tensor) -> Tensor:
    """Average over the mask in each image (n, 1, 1, 1); not 0 even for a blank one."""
    total = (charge * mask).sum(dim=(1, 2, 3), keepdim=True)
    return (total / mask.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1)).clamp_min(1e-12)


def _relative(charge: Tensor, mask: Tensor) -> Tensor:
    return charge / _mean(charge, mask)


def _quantiles(values: Tensor) -> Tensor:
    """Compute KNOTS quantiles of values (n,), denser towards the bright end with its long tail."""
    place = 1 - (1 - torch.linspace(0, 1, KNOTS, device=values.device)).square()
    return values.float().sort().values[(place * (len(values) - 1)).round().long()]
