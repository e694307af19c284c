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
    # Fused: all parameters in one operation, which small models gain from most, on the CPU too. There is no fused RMSprop.
    "adam": lambda params, lr, beta: torch.optim.Adam(params, lr=lr, betas=(beta, 0.999), fused=True),
    "adamw": lambda params, lr, beta: torch.optim.AdamW(params, lr=lr, betas=(beta, 0.999), fused=True),
    "rmsprop": lambda params, lr, beta: torch.optim.RMSprop(params, lr=lr, momentum=beta),
    "sgd": lambda params, lr, beta: torch.optim.SGD(params, lr=lr, momentum=beta, fused=True),
}


def make_optimizer(name: str, params: Iterable[nn.Parameter], lr: float, beta: float) -> torch.optim.Optimizer:
    """adam, adamw, rmsprop or sgd; ``beta`` is Adam's first decay rate and the momentum of the others."""
    return _OPTIMIZERS[name](list(params), lr, beta)


class _LoneSample:
    """Batch normalisation that meets a single value a channel, which has no spread, with its running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        norm: Any = self
        if norm.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return super().forward(x)  # type: ignore[misc]


class BatchNorm(_LoneSample, nn.BatchNorm1d):
    """Of vectors (n, D)."""


class BatchNorm2d(_LoneSample, nn.BatchNorm2d):
    """Of images (n, C, H, W)."""


def standardising_norm(shape: tuple[int, ...]) -> nn.Module:
    """Normalises codes (n, D) as they are standardised: each number of vectors (D,), each channel of maps (channels, rows, columns)."""
    if len(shape) == 3:
        return nn.Sequential(nn.Unflatten(1, shape), BatchNorm2d(shape[0], affine=False), nn.Flatten())
    return BatchNorm(shape[0], affine=False)


def output_activation(data: DataInfo) -> nn.Module:
    """The last layer of a network of images: to [-1, 1] for signed charge, otherwise to [0, 1]."""
    return nn.Tanh() if data.signed else nn.Sigmoid()


def append_columns(values: Tensor, condition: Tensor | None) -> Tensor:
    """values (n, D) with the columns of condition (n, K) beside them, if there is any."""
    return values if condition is None else torch.cat([values, condition.to(values.dtype)], dim=1)


def mlp(sizes: list[int], *, p: float = 0.0, slope: float = 0.2, normalise: bool = False, last_bias: bool = True) -> nn.Sequential:
    """Linear layers through ``sizes``; between them, normalisation if asked for, LeakyReLU and dropout ``p``; nothing after the last.

    A layer that is normalised has no bias, which would have no effect; ``last_bias`` is for the caller who normalises what comes out.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after, bias=not normalise), *([BatchNorm(after)] if normalise else []), nn.LeakyReLU(slope)]
        if p:
            layers.append(nn.Dropout(p))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=last_bias))
