"""Layers whose answer for a sample depends on the whole batch, made to see it where it is divided between ranks or pieces.

torch's own SyncBatchNorm does this for normalisation, on GPUs alone.
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
    """Let batch normalisation take its statistics from all ranks, and dropout its masks from those of the whole batch."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and trainer.ranks.count > 1:
            module.forward = partial(_normalised, module, trainer.ranks.group)  # type: ignore[method-assign]
        elif isinstance(module, nn.Dropout):
            module.forward = partial(_dropped, module, trainer)  # type: ignore[method-assign]


class _Sum(torch.autograd.Function):
    """The sum of all ranks' values, whose gradient is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _Sum.apply(gradient.contiguous(), ctx.group), None


def _normalised(norm: Any, group: dist.ProcessGroup | None, x: Tensor) -> Tensor:
    """Batch normalisation (arXiv:1502.03167) of x (n, C, ...) by mean and variance over the samples of all ranks."""
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
    answer = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        answer = answer * norm.weight.view(shape) + norm.bias.view(shape)
    return answer.to(x.dtype)


def _dropped(dropout: nn.Dropout, trainer: Trainer, x: Tensor) -> Tensor:
    """Dropout with this part's rows of the mask of the whole batch, which on a CPU is the mask that one process would draw."""
    part = trainer.shard
    each, left = divmod(len(x), part.count)
    if left or not dropout.training or not dropout.p:  # or rows that do not belong to samples
        return F.dropout(x, dropout.p, dropout.training)
    mask = torch.empty(each * part.total, *x.shape[1:], device=x.device, dtype=x.dtype).bernoulli_(1 - dropout.p, generator=trainer.masks)
    return x * mask[each * part.first :][: len(x)] / (1 - dropout.p)
