"""Velocity networks: a residual MLP for latent codes, a compact U-Net for images and maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.errors import ConfigError, option
from pgen.models.flow.config import FlowConfig
from pgen.models.nn import append_columns
from pgen.plugins.specs import DataInfo

#: Frequencies of the time embedding.
FREQUENCIES = 32
GROUPS = 8


def make_velocity(config: FlowConfig, data: DataInfo) -> nn.Module:
    """Create the network v(x, t, labels) -> (n, *shape) for x (n, *shape) and t (n,).

    With conditions, it also takes label features (n, K + 1).
    """
    features = data.condition_size + 1 if data.conditions else 0
    if data.kind == "images":
        return UNet(data.shape, config.n_hidden or 32, config.n_layers or 3, config.patch or 2, features)
    if shape := data.map_shape:
        return FlattenedMaps(shape, UNet(shape, config.n_hidden or 48, config.n_layers or 2, config.patch or 1, features))
    if config.patch is not None:
        raise ConfigError(f"{option('patch', config.patch)}: the targets are latent vectors, which have no pixels; leave it out.")
    return ResidualMLP(data.size, config.n_hidden or 256, config.n_layers or 4, features)


class TimeEmbedding(nn.Module):
    """Embeds times (n,) in [0, 1] and label features (n, K + 1), if any, as (n, width)."""

    frequencies: Tensor

    def __init__(self, width: int, label_features: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2 ** torch.linspace(-1, 6, FREQUENCIES), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES + label_features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, t: Tensor, labels: Tensor | None) -> Tensor:
        """Embed times and labels."""
        angles = t[:, None] * self.frequencies
        return self.layers(append_columns(torch.cat([angles.sin(), angles.cos()], dim=1), labels))


class ResidualMLP(nn.Module):
    """A residual MLP for vectors (n, size)."""

    def __init__(self, size: int, width: int, blocks: int, label_features: int = 0) -> None:
        super().__init__()
        self.clock = TimeEmbedding(width, label_features)
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        # No normalisation before it, which would remove the length of x.
        self.last = zero_init(nn.Linear(width, size))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the velocity."""
        time, h = self.clock(t, labels), self.first(x)
        for block in self.blocks:
            h = block(h, time)
        return self.last(h)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.time = nn.LayerNorm(width), nn.Linear(width, width)
        self.wide, self.back = nn.Linear(width, width), zero_init(nn.Linear(width, width))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        return h + self.back(F.silu(self.wide(self.norm(h)) + self.time(time)))


class UNet(nn.Module):
    """A U-Net (arXiv:1505.04597) with a residual block of two convolutions per level and side.

    Patches of pixels become channels first, since most of a detector image is empty and full
    resolution is expensive.
    """

    def __init__(self, shape: tuple[int, ...], width: int, levels: int, patch: int, label_features: int = 0) -> None:
        """Create the layers.

        Args:
            shape: (channels, rows, columns).
            width: Channels of the first level.
            levels: Levels, each of half the resolution of the one before.
            patch: Pixels per side of a patch.
            label_features: Features of labels, K + 1, or 0.

        Raises:
            ConfigError: Rows or columns cannot be halved that often.
        """
        super().__init__()
        channels, rows, columns = shape
        step = patch * 2 ** (levels - 1)
        if rows % step or columns % step:
            raise ConfigError(
                f"{option('patch', patch)} and {option('n_layers', levels)}: {rows}×{columns} pixels are not divisible by {step}; "
                "pass smaller ones, or cut the images by pgen data crop."
            )
        widths = [width * min(2**i, 4) for i in range(levels)]
        self.clock = TimeEmbedding(4 * width, label_features)
        self.fold, self.unfold = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        # Position embedding: convolutions are blind to position, on which what is likely depends.
        self.places = nn.Parameter(torch.zeros(width, rows // patch, columns // patch))
        before = [widths[max(0, i - 1)] for i in range(levels)]
        self.down = nn.ModuleList(_Convolutions(a, b, 4 * width) for a, b in zip(before, widths, strict=True))
        self.middle = _Convolutions(widths[-1], widths[-1], 4 * width)
        self.up = nn.ModuleList(_Convolutions(2 * b, a, 4 * width) for a, b in zip(before, widths, strict=True))
        self.last = nn.Sequential(_norm(width), nn.SiLU(), zero_init(nn.Conv2d(width, channels * patch**2, 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the velocity."""
        time, h = self.clock(t, labels), self.first(self.fold(x)) + self.places
        skips = []
        for number, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if number else h, time)
            skips.append(h)
        h = self.middle(h, time)
        for number in reversed(range(len(self.up))):
            h = self.up[number](torch.cat([h, skips[number]], dim=1), time)
            if number:
                h = F.interpolate(h, scale_factor=2.0)
        return self.unfold(self.last(h))


class FlattenedMaps(nn.Module):
    """Applies a network of maps (n, *shape) to latent codes (n, D), which are flattened maps."""

    def __init__(self, shape: tuple[int, ...], network: nn.Module) -> None:
        super().__init__()
        self.shape, self.network = shape, network

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the velocity."""
        return self.network(x.unflatten(1, self.shape), t, labels).flatten(1)


class _Convolutions(nn.Module):
    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1), _norm(after))
        # Scale and shift of each channel after normalisation, which would remove them
        # (arXiv:2105.05233).
        self.time = zero_init(nn.Linear(time, 2 * after))
        self.second = nn.Sequential(nn.SiLU(), zero_init(nn.Conv2d(after, after, 3, padding=1)))
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        return self.skip(h) + self.second((1 + scale) * self.first(h) + shift)


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(GROUPS, width), width)


def zero_init(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """Set weight and bias to 0, so that a residual block is the identity at first."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
