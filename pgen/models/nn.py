"""Layers and optimisers that the built-in models share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pgen.plugins.specs import DataInfo

_OPTIMIZERS = {
    # Fused: all parameters in one operation, from which small models gain most, on the CPU too.
    # There is no fused RMSprop.
    "adam": lambda params, lr, beta: torch.optim.Adam(params, lr=lr, betas=(beta, 0.999), fused=True),
    "adamw": lambda params, lr, beta: torch.optim.AdamW(params, lr=lr, betas=(beta, 0.999), fused=True),
    "rmsprop": lambda params, lr, beta: torch.optim.RMSprop(params, lr=lr, momentum=beta),
    "sgd": lambda params, lr, beta: torch.optim.SGD(params, lr=lr, momentum=beta, fused=True),
}


def make_optimizer(name: str, params: Iterable[nn.Parameter], lr: float, beta: float) -> torch.optim.Optimizer:
    """Create an optimiser.

    Args:
        name: adam, adamw, rmsprop or sgd.
        params: The parameters to optimise.
        lr: Learning rate.
        beta: Adam's beta1, or the momentum of the others.
    """
    return _OPTIMIZERS[name](list(params), lr, beta)


class _SingleSampleNorm:
    """Batch normalisation that uses running statistics for a single value per channel."""

    def forward(self, x: Tensor) -> Tensor:
        norm: Any = self
        if norm.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return super().forward(x)  # type: ignore[misc]


class BatchNorm(_SingleSampleNorm, nn.BatchNorm1d):
    """Batch normalisation of vectors (n, D), n of 1 included."""


class BatchNorm2d(_SingleSampleNorm, nn.BatchNorm2d):
    """Batch normalisation of images (n, C, H, W), a single pixel included."""


def standardising_norm(shape: tuple[int, ...]) -> nn.Module:
    """Create a normalisation of latent codes (n, D) to mean 0 and variance 1.

    Args: shape: (D,) to normalise each component, (channels, rows, columns) for each channel of a
        map.
    """
    if len(shape) == 3:
        return nn.Sequential(nn.Unflatten(1, shape), BatchNorm2d(shape[0], affine=False), nn.Flatten())
    return BatchNorm(shape[0], affine=False)


def output_activation(data: DataInfo) -> nn.Module:
    """Create the last layer of an image network: to [-1, 1] if signed, otherwise to [0, 1]."""
    return nn.Tanh() if data.signed else nn.Sigmoid()


def append_columns(values: Tensor, columns: Tensor | None) -> Tensor:
    """Append columns (n, K), if any, to values (n, D)."""
    return values if columns is None else torch.cat([values, columns.to(values.dtype)], dim=1)


def mlp(sizes: list[int], *, p: float = 0.0, slope: float = 0.2, normalise: bool = False, last_bias: bool = True) -> nn.Sequential:
    """Create an MLP: linear layers with LeakyReLU between them.

    Args:
        sizes: Widths, from the input to the output.
        p: Dropout after each hidden layer.
        slope: Negative slope of LeakyReLU.
        normalise: Use batch normalisation after hidden linear layers, which then have no bias.
        last_bias: Whether the last layer has a bias; it has no effect if a normalisation follows.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after, bias=not normalise), *([BatchNorm(after)] if normalise else []), nn.LeakyReLU(slope)]
        if p:
            layers.append(nn.Dropout(p))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=last_bias))
