"""Layers and optimisers that the built-in models share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import nn

_OPTIMIZERS = {
    "adam": lambda params, lr, beta: torch.optim.Adam(params, lr=lr, betas=(beta, 0.999)),
    "adamw": lambda params, lr, beta: torch.optim.AdamW(params, lr=lr, betas=(beta, 0.999)),
    "rmsprop": lambda params, lr, beta: torch.optim.RMSprop(params, lr=lr, momentum=beta),
    "sgd": lambda params, lr, beta: torch.optim.SGD(params, lr=lr, momentum=beta),
}


def make_optimizer(name: str, params: Iterable[nn.Parameter], lr: float, beta: float) -> torch.optim.Optimizer:
    """adam, adamw, rmsprop or sgd; ``beta`` is Adam's first decay rate and the momentum of the others."""
    return _OPTIMIZERS[name](list(params), lr, beta)


def mlp(sizes: list[int], *, p: float = 0.0, slope: float = 0.2) -> nn.Sequential:
    """Linear layers through ``sizes``, LeakyReLU and dropout ``p`` between them, nothing after the last."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(slope)]
        if p:
            layers.append(nn.Dropout(p))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
