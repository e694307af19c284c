"""Generators for EWM: noise to standardised codes, or to images in model space."""

from __future__ import annotations

import itertools

from torch import nn

from pgen.errors import PgenError
from pgen.models.ewm.config import EwmConfig
from pgen.models.nn import BatchNorm2d, mlp, output_activation, standardising_norm
from pgen.plugins.specs import DataInfo


def make_generator(config: EwmConfig, data: DataInfo) -> nn.Sequential:
    """Noise (n, z_dim), with conditions beside it, to samples of ``data.shape``."""
    if config.arch == "conv":
        return _convolutions(config, data)
    normalised = data.kind == "codes" and config.match_moments
    sizes = [config.z_dim + data.condition_size, *[config.n_hidden] * config.n_layers, data.size]
    # Normalisation of each number takes a bias away; that of a map's channel does not.
    layers = mlp(sizes, p=config.p, last_bias=not normalised or bool(data.map_shape))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, 0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if data.kind == "images":
        return nn.Sequential(layers, output_activation(data), nn.Unflatten(1, data.shape))
    if normalised:
        # A least-squares fit to scattered targets shrinks towards their mean; this holds the scale.
        return nn.Sequential(layers, standardising_norm(data.map_shape or data.shape))
    return nn.Sequential(layers)


def _convolutions(config: EwmConfig, data: DataInfo) -> nn.Sequential:
    if data.kind != "images":
        raise PgenError("--arch conv makes images, but the targets are code vectors; leave it out, or give images as --targets.")
    channels, rows, columns = data.shape
    step = 2**config.n_layers
    if rows % step or columns % step:
        raise PgenError(f"--n-layers {config.n_layers}: images of {rows}×{columns} do not halve that often; pass a smaller --n-layers.")
    widths = [max(8, config.n_hidden >> i) for i in range(config.n_layers)]
    small = (widths[0], rows // step, columns // step)
    first = nn.Linear(config.z_dim + data.condition_size, small[0] * small[1] * small[2])
    layers: list[nn.Module] = [first, nn.Unflatten(1, small), nn.ReLU()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), BatchNorm2d(after), nn.ReLU(), nn.Dropout(config.p)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), output_activation(data))
