"""Generators for EWM: noise to standardised latent codes, or to images in model space."""

from __future__ import annotations

import itertools

from torch import nn

from pgen.errors import ConfigError, option
from pgen.models.ewm.config import EwmConfig
from pgen.models.nn import BatchNorm2d, mlp, output_activation, standardising_norm
from pgen.plugins.specs import DataInfo


def make_generator(config: EwmConfig, data: DataInfo) -> nn.Sequential:
    """Create the network from noise (n, z_dim), with encoded labels appended, to samples."""
    if config.arch == "conv":
        return _make_convolutional(config, data)
    is_normalised = data.kind == "codes" and config.match_moments
    sizes = [config.z_dim + data.condition_size, *[config.n_hidden] * config.n_layers, data.size]
    # Normalisation of each component removes a bias; that of a map's channel does not.
    layers = mlp(sizes, p=config.p, last_bias=not is_normalised or bool(data.map_shape))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, 0.2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if data.kind == "images":
        return nn.Sequential(layers, output_activation(data), nn.Unflatten(1, data.shape))
    if is_normalised:
        # A least-squares fit to scattered targets shrinks towards their mean; this keeps the scale.
        return nn.Sequential(layers, standardising_norm(data.map_shape or data.shape))
    return nn.Sequential(layers)


def _make_convolutional(config: EwmConfig, data: DataInfo) -> nn.Sequential:
    if data.kind != "images":
        raise ConfigError(
            f"{option('arch', 'conv')} generates images, but the targets are latent codes; leave it out, or pass images as "
            f"{option('targets')}."
        )
    channels, rows, columns = data.shape
    step = 2**config.n_layers
    if rows % step or columns % step:
        raise ConfigError(
            f"{option('n_layers', config.n_layers)}: images of {rows}×{columns} cannot be halved that often; use fewer layers."
        )
    widths = [max(8, config.n_hidden >> i) for i in range(config.n_layers)]
    small = (widths[0], rows // step, columns // step)
    first = nn.Linear(config.z_dim + data.condition_size, small[0] * small[1] * small[2])
    layers: list[nn.Module] = [first, nn.Unflatten(1, small), nn.ReLU()]
    for before, after in itertools.pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), BatchNorm2d(after), nn.ReLU(), nn.Dropout(config.p)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), output_activation(data))
