"""Networks for the velocity of a flow: of codes (n, D) a residual perceptron, of images (n, C, H, W), and of codes that are maps, a compact
U-Net."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.errors import PgenError
from pgen.models.flow.config import FlowConfig
from pgen.models.nn import append_columns
from pgen.plugins.specs import DataInfo

#: Frequencies by which a network is told the time.
FREQUENCIES = 32
GROUPS = 8


def make_velocity(config: FlowConfig, data: DataInfo) -> nn.Module:
    """(x (n, *shape), t (n,)) to the velocity there (n, *shape); with conditions besides what is known of them (n, K + 1)."""
    told = data.condition_size + 1 if data.conditions else 0
    if data.kind == "images":
        return UNet(data.shape, config.n_hidden or 32, config.n_layers or 3, config.patch or 2, told)
    if shape := data.map_shape:
        return FlattenedMaps(shape, UNet(shape, config.n_hidden or 48, config.n_layers or 2, config.patch or 1, told))
    if config.patch is not None:
        raise PgenError(f"--patch {config.patch}: the targets are code vectors, which have no pixels; leave it out.")
    return Perceptron(data.size, config.n_hidden or 256, config.n_layers or 4, told)


class TimeEmbedding(nn.Module):
    """Times (n,) in [0, 1], and what is known of a sample (n, told), to features (n, width)."""

    frequencies: Tensor

    def __init__(self, width: int, told: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2 ** torch.linspace(-1, 6, FREQUENCIES), persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES + told, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, t: Tensor, told: Tensor | None) -> Tensor:
        angles = t[:, None] * self.frequencies
        return self.layers(append_columns(torch.cat([angles.sin(), angles.cos()], dim=1), told))


class Perceptron(nn.Module):
    def __init__(self, size: int, width: int, blocks: int, told: int = 0) -> None:
        super().__init__()
        self.clock = TimeEmbedding(width, told)
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        # Without normalisation, which would take the length of x away.
        self.last = zeroed(nn.Linear(width, size))

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        time, h = self.clock(t, told), self.first(x)
        for block in self.blocks:
            h = block(h, time)
        return self.last(h)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.time = nn.LayerNorm(width), nn.Linear(width, width)
        self.wide, self.back = nn.Linear(width, width), zeroed(nn.Linear(width, width))

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        return h + self.back(F.silu(self.wide(self.norm(h)) + self.time(time)))


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv:1505.04597), with a residual block of two convolutions a level on the way down and up.

    ``patch`` pixels a side become channels first, since most of a detector image is dark and full resolution is dear.
    """

    def __init__(self, shape: tuple[int, ...], width: int, levels: int, patch: int, told: int = 0) -> None:
        super().__init__()
        channels, rows, columns = shape
        step = patch * 2 ** (levels - 1)
        if rows % step or columns % step:
            raise PgenError(
                f"--patch {patch} and --n-layers {levels}: rows and columns, {rows}×{columns}, do not divide by {step}; "
                "pass smaller ones, or cut the images by pgen data crop."
            )
        widths = [width * min(2**i, 4) for i in range(levels)]
        self.clock = TimeEmbedding(4 * width, told)
        self.fold, self.unfold = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.first = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        # Convolutions do not know where they are, and what is likely differs from place to place.
        self.places = nn.Parameter(torch.zeros(width, rows // patch, columns // patch))
        before = [widths[max(0, i - 1)] for i in range(levels)]
        self.down = nn.ModuleList(_Convolutions(a, b, 4 * width) for a, b in zip(before, widths, strict=True))
        self.middle = _Convolutions(widths[-1], widths[-1], 4 * width)
        self.up = nn.ModuleList(_Convolutions(2 * b, a, 4 * width) for a, b in zip(before, widths, strict=True))
        self.last = nn.Sequential(_norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, channels * patch**2, 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        time, h = self.clock(t, told), self.first(self.fold(x)) + self.places
        passed = []
        for number, block in enumerate(self.down):
            h = block(F.avg_pool2d(h, 2) if number else h, time)
            passed.append(h)
        h = self.middle(h, time)
        for number in reversed(range(len(self.up))):
            h = self.up[number](torch.cat([h, passed[number]], dim=1), time)
            if number:
                h = F.interpolate(h, scale_factor=2.0)
        return self.unfold(self.last(h))


class FlattenedMaps(nn.Module):
    """A network of maps (n, *shape), for the codes (n, D) that they are kept as."""

    def __init__(self, shape: tuple[int, ...], network: nn.Module) -> None:
        super().__init__()
        self.shape, self.network = shape, network

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        return self.network(x.unflatten(1, self.shape), t, told).flatten(1)


class _Convolutions(nn.Module):
    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1), _norm(after))
        # Scale and shift of each channel, after the normalisation, which would take them away (arXiv:2105.05233).
        self.time = zeroed(nn.Linear(time, 2 * after))
        self.second = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(after, after, 3, padding=1)))
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        return self.skip(h) + self.second((1 + scale) * self.first(h) + shift)


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(GROUPS, width), width)


def zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """A layer that begins as nothing, so that a residual block begins as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
