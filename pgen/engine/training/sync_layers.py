"""Batch norm and dropout for batches divided among ranks or into micro-batches.

torch's SyncBatchNorm does this for normalisation, on GPUs only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pgen.engine.training.trainer import Trainer


def sync_batch_layers(model: nn.Module, trainer: Trainer) -> None:
    """Let batch norm use statistics of all ranks, and dropout the mask of the whole batch."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and trainer.processes.count > 1:
            module.forward = partial(_sync_batch_norm, module, trainer.group)  # type: ignore[method-assign]
        elif isinstance(module, nn.Dropout):
            module.forward = partial(_shard_dropout, module, trainer)  # type: ignore[method-assign]


class _Sum(torch.autograd.Function):
    """Sums values over all ranks; the gradient is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _Sum.apply(gradient.contiguous(), ctx.group), None


def _sync_batch_norm(norm: Any, group: dist.ProcessGroup | None, x: Tensor) -> Tensor:
    """Normalise x (n, C, ...) by mean and variance over all ranks (arXiv:1502.03167)."""
    if not norm.training:
        return type(norm).forward(norm, x)
    values = x.float()
    over = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    count = torch.full((1,), x.numel() // x.shape[1], dtype=torch.float32, device=x.device)
    total = _Sum.apply(torch.cat([values.sum(over), count]), group)
    n = total[-1].detach()  # at least one of each rank
    mean = total[:-1] / n
    centred = values - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(over), group) / n
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            weight = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, weight)
            norm.running_var.lerp_(variance * n / (n - 1), weight)
    output = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        output = output * norm.weight.view(shape) + norm.bias.view(shape)
    return output.to(x.dtype)


def _shard_dropout(dropout: nn.Dropout, trainer: Trainer, x: Tensor) -> Tensor:
    """Apply this shard's rows of the dropout mask of the whole batch."""
    shard = trainer.shard
    rows_per_sample, remainder = divmod(len(x), shard.count)
    if remainder or not dropout.training or not dropout.p:  # or rows that are no samples
        return F.dropout(x, dropout.p, dropout.training)
    mask = torch.empty(rows_per_sample * shard.total, *x.shape[1:], device=x.device, dtype=x.dtype)
    mask.bernoulli_(1 - dropout.p, generator=trainer.masks)
    return x * mask[rows_per_sample * shard.first :][: len(x)] / (1 - dropout.p)
