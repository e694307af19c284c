"""Encoder and decoder of the auto-encoder."""

from __future__ import annotations

import itertools

from torch import nn

from pgen.errors import UserError
from pgen.models.ae.config import AeConfig
from pgen.models.layers import BatchNorm2d, mlp

SLOPE = 0.2


def encoder_and_decoder(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Images (n, C, H, W) to codes (n, l_dim), which the model normalises, or of a variational one to their mean and twice the logarithm of
    their spread, (n, 2 l_dim); and codes to ``maps`` values a pixel, (n, maps, H, W)."""
    return _convolutions(config, shape, maps) if config.arch == "conv" else _perceptrons(config, shape, maps)


def _outputs(config: AeConfig) -> int:
    return 2 * config.l_dim if config.kl_weight else config.l_dim


def _perceptrons(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential]:
    channels, rows, columns = shape
    hidden = [32 * config.depth] * config.n_layers
    sizes, variational = [channels * rows * columns, *hidden, _outputs(config)], config.kl_weight > 0
    encoder = nn.Sequential(nn.Flatten(), mlp(sizes, p=config.p, slope=SLOPE, last_bias=variational))
    decoder = nn.Sequential(mlp([config.l_dim, *hidden, maps * rows * columns], slope=SLOPE), nn.Unflatten(1, (maps, rows, columns)))
    return encoder, decoder


def _convolutions(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential]:
    channels, rows, columns = shape
    step = 2**config.n_layers
    if rows % step or columns % step:
        fits = max((n for n in range(1, config.n_layers) if rows % 2**n == 0 and columns % 2**n == 0), default=None)
        way = f"pass --n-layers {fits}" if fits else "pass --arch mlp"
        raise UserError(
            f"--n-layers {config.n_layers}: images of {rows}×{columns} do not halve {config.n_layers} times; {way}, or crop them."
        )
    widths = [config.depth * 2**i for i in range(config.n_layers)]
    small = (widths[-1], rows // step, columns // step)
    flat = small[0] * small[1] * small[2]

    def stage(layer: nn.Module, width: int) -> list[nn.Module]:
        return [layer, BatchNorm2d(width), nn.LeakyReLU(SLOPE)]

    down = [m for a, b in zip([channels, *widths[:-1]], widths, strict=True) for m in stage(nn.Conv2d(a, b, 4, 2, 1, bias=False), b)]
    back = widths[::-1]
    up = [m for a, b in itertools.pairwise(back) for m in stage(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), b)]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Dropout(config.p), nn.Linear(flat, _outputs(config), bias=config.kl_weight > 0))
    decoder = nn.Sequential(
        nn.Linear(config.l_dim, flat), nn.LeakyReLU(SLOPE), nn.Unflatten(1, small), *up, nn.ConvTranspose2d(back[-1], maps, 4, 2, 1)
    )
    return encoder, decoder
