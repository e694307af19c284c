"""Encoder and decoder of the auto-encoder."""

from __future__ import annotations

import itertools

from torch import nn

from pgen.errors import PgenError
from pgen.models.ae.config import AeConfig
from pgen.models.nn import BatchNorm2d, mlp

SLOPE = 0.2


def encoder_and_decoder(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
    """The encoder, the decoder and the shape of a code, (D,) or of a map (channels, rows, columns).

    The encoder takes images (n, C, H, W) to codes (n, *shape), which the model normalises, or of a variational one to their mean and twice
    the logarithm of their spread, with twice the channels; the decoder codes (n, D) to ``maps`` values a pixel, (n, maps, H, W).
    """
    return _perceptrons(config, shape, maps) if config.arch == "mlp" else _convolutions(config, shape, maps)


def _perceptrons(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
    channels, rows, columns = shape
    hidden, size = [32 * config.depth] * (config.n_layers or 4), config.l_dim or 40
    sizes, variational = [channels * rows * columns, *hidden, _found(size, config)], config.kl_weight > 0
    encoder = nn.Sequential(nn.Flatten(), mlp(sizes, p=config.p, slope=SLOPE, last_bias=variational))
    decoder = nn.Sequential(mlp([size, *hidden, maps * rows * columns], slope=SLOPE), nn.Unflatten(1, (maps, rows, columns)))
    return encoder, decoder, (size,)


def _convolutions(config: AeConfig, shape: tuple[int, ...], maps: int) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
    channels, rows, columns = shape
    halved = config.n_layers or (3 if config.arch == "map" else 4)
    step = 2**halved
    if rows % step or columns % step:
        fits = max((n for n in range(1, halved) if rows % 2**n == 0 and columns % 2**n == 0), default=None)
        way = f"pass --n-layers {fits}" if fits else "pass --arch mlp"
        raise PgenError(f"--n-layers {halved}: images of {rows}×{columns} do not halve {halved} times; {way}, or crop them.")
    widths = [config.depth * 2**i for i in range(halved)]
    small = (widths[-1], rows // step, columns // step)
    flat = small[0] * small[1] * small[2]
    back = widths[::-1]
    down = [m for a, b in zip([channels, *widths[:-1]], widths, strict=True) for m in _stage(nn.Conv2d(a, b, 4, 2, 1, bias=False), b)]
    up = [m for a, b in itertools.pairwise(back) for m in _stage(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), b)]
    drop, variational = nn.Dropout(config.p), config.kl_weight > 0

    def decoder(*first: nn.Module) -> nn.Sequential:
        return nn.Sequential(*first, *up, nn.ConvTranspose2d(back[-1], maps, 4, 2, 1))

    if config.arch == "map":
        code = (config.l_dim or 4, *small[1:])
        to_code = [drop, nn.Conv2d(small[0], _found(code[0], config), 3, padding=1, bias=variational)]
        of_code = [nn.Unflatten(1, code), *_stage(nn.Conv2d(code[0], small[0], 3, padding=1, bias=False), small[0])]
        return nn.Sequential(*down, *to_code), decoder(*of_code), code
    size = config.l_dim or 40
    to_code = [nn.Flatten(), drop, nn.Linear(flat, _found(size, config), bias=variational)]
    of_code = [nn.Linear(size, flat), nn.LeakyReLU(SLOPE), nn.Unflatten(1, small)]
    return nn.Sequential(*down, *to_code), decoder(*of_code), (size,)


def _found(size: int, config: AeConfig) -> int:
    """What the encoder finds for a code of that many numbers, or channels."""
    return 2 * size if config.kl_weight else size


def _stage(layer: nn.Module, width: int) -> list[nn.Module]:
    return [layer, BatchNorm2d(width), nn.LeakyReLU(SLOPE)]
