"""Encoder and decoder networks of the auto-encoder."""

from __future__ import annotations

import itertools

from torch import nn

from pgen.errors import ConfigError, option
from pgen.models.ae.config import AeConfig
from pgen.models.nn import BatchNorm2d, mlp

SLOPE = 0.2
#: Encoder, decoder, and the shape of a latent code.
Networks = tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]


def make_networks(config: AeConfig, shape: tuple[int, ...], maps: int) -> Networks:
    """Create encoder and decoder.

    Args:
        config: The options.
        shape: (channels, rows, columns) of an image.
        maps: Output channels of the decoder.

    Returns:
        encoder: Maps images (n, C, H, W) to codes (n, *code_shape), not yet normalised; of a
            variational one to their mean and twice the logarithm of their spread, with twice the
            channels.
        decoder: Maps codes (n, D) to (n, maps, H, W).
        code_shape: (D,), or (channels, rows, columns) of a map.
    """
    return _make_mlps(config, shape, maps) if config.arch == "mlp" else _make_convolutional(config, shape, maps)


def _make_mlps(config: AeConfig, shape: tuple[int, ...], maps: int) -> Networks:
    channels, rows, columns = shape
    hidden, size = [32 * config.depth] * (config.n_layers or 4), config.l_dim or 40
    sizes, is_variational = [channels * rows * columns, *hidden, _encoder_size(size, config)], config.kl_weight > 0
    encoder = nn.Sequential(nn.Flatten(), mlp(sizes, p=config.p, slope=SLOPE, last_bias=is_variational))
    decoder = nn.Sequential(mlp([size, *hidden, maps * rows * columns], slope=SLOPE), nn.Unflatten(1, (maps, rows, columns)))
    return encoder, decoder, (size,)


def _make_convolutional(config: AeConfig, shape: tuple[int, ...], maps: int) -> Networks:
    channels, rows, columns = shape
    n_layers = config.n_layers or (3 if config.arch == "map" else 4)
    step = 2**n_layers
    if rows % step or columns % step:
        fits = max((n for n in range(1, n_layers) if rows % 2**n == 0 and columns % 2**n == 0), default=None)
        advice = f"pass {option('n_layers', fits)}" if fits else f"pass {option('arch', 'mlp')}"
        raise ConfigError(
            f"{option('n_layers', n_layers)}: images of {rows}×{columns} cannot be halved {n_layers} times; {advice}, or crop them."
        )
    widths = [config.depth * 2**i for i in range(n_layers)]
    small = (widths[-1], rows // step, columns // step)
    flat = small[0] * small[1] * small[2]
    back = widths[::-1]
    down = [m for a, b in zip([channels, *widths[:-1]], widths, strict=True) for m in _stage(nn.Conv2d(a, b, 4, 2, 1, bias=False), b)]
    up = [m for a, b in itertools.pairwise(back) for m in _stage(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), b)]
    drop, is_variational = nn.Dropout(config.p), config.kl_weight > 0

    def make_decoder(*first: nn.Module) -> nn.Sequential:
        return nn.Sequential(*first, *up, nn.ConvTranspose2d(back[-1], maps, 4, 2, 1))

    if config.arch == "map":
        code = (config.l_dim or 4, *small[1:])
        to_code = [drop, nn.Conv2d(small[0], _encoder_size(code[0], config), 3, padding=1, bias=is_variational)]
        from_code = [nn.Unflatten(1, code), *_stage(nn.Conv2d(code[0], small[0], 3, padding=1, bias=False), small[0])]
        return nn.Sequential(*down, *to_code), make_decoder(*from_code), code
    size = config.l_dim or 40
    to_code = [nn.Flatten(), drop, nn.Linear(flat, _encoder_size(size, config), bias=is_variational)]
    from_code = [nn.Linear(size, flat), nn.LeakyReLU(SLOPE), nn.Unflatten(1, small)]
    return nn.Sequential(*down, *to_code), make_decoder(*from_code), (size,)


def _encoder_size(size: int, config: AeConfig) -> int:
    """Return the outputs of an encoder for codes of a size: mean, and spread if variational."""
    return 2 * size if config.kl_weight else size


def _stage(layer: nn.Module, width: int) -> list[nn.Module]:
    return [layer, BatchNorm2d(width), nn.LeakyReLU(SLOPE)]
