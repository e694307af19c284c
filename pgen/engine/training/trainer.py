"""What a model sees of the engine while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import BatchShard, ProcessGroup
from pgen.engine.runtime.seeding import derive, generator, reseed
from pgen.errors import ConfigError, option


class Trainer:
    """Passed to ``training_step``.

    A batch may be divided among GPUs or into micro-batches; a model need not know.

    Attributes:
        step: Number of the current step, from 0.
        seed: Seed of the run.
        batch_size: Samples per step over all ranks.
        shuffle: Whether samples are shuffled.
        device: Where the model computes.
        settings: All options of training.
        group: The processes that share the targets (:class:`pgen.ot.Targets`); None for a single
            process.
        optimizers: As the model made them.
        has_stepped: Whether an optimiser has stepped in the current step.
        shard: The rows of the batch that are being processed.
        condition: Encoded labels (n, K) of the samples, see :class:`pgen.plugins.specs.Condition`;
            of all targets, on every rank, for a model that is given them; None without `condition`.
        updated: Optimisers that were given a loss of this micro-batch.
        log: Logs a line on rank 0: for a step that takes long.
        masks: Generator of dropout masks, see :mod:`pgen.engine.training.sync_layers`.
    """

    def __init__(
        self,
        optimizers: dict[str, torch.optim.Optimizer],
        device: torch.device,
        settings: TrainConfig,
        processes: ProcessGroup | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.optimizers, self.device, self.settings = optimizers, device, settings
        self.log = log or (lambda text: None)
        self.processes = processes or ProcessGroup()
        self.seed, self.batch_size, self.shuffle = settings.seed, settings.batch_size, settings.shuffle
        self.group = self.processes.group
        self.step, self.has_stepped = 0, False
        self.shard, self._number, self._n_microbatches = self.processes.shards(self.batch_size)[0], 0, 1
        self.updated: set[str] = set()
        self.condition: Tensor | None = None
        self.masks: torch.Generator | None = None
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def start_step(self, step: int, fraction_done: float) -> None:
        """Set the learning rates of a step.

        They fall from the model's own to `lr_decay` times that along half a cosine, after a linear
        rise in the first `warm_up` steps. A model may still set its own in ``training_step``.

        Args:
            step: Number of the step.
            fraction_done: Fraction of the run that is done.
        """
        self.step, self.has_stepped = step, False
        last = self.settings.lr_decay
        factor = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction_done)))
        factor *= min(1.0, (step + 1) / max(1, self.settings.warm_up))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]

    def start_microbatch(self, shard: BatchShard, number: int, n_microbatches: int, condition: Tensor | None = None) -> None:
        """Prepare for micro-batch ``number`` of ``n_microbatches`` of a step."""
        self.shard, self._number, self._n_microbatches, self.condition = shard, number, n_microbatches, condition
        self.updated.clear()
        # Seeded each time, so that dropout and the like do not depend on where a run was
        # interrupted.
        reseed(derive(self.seed, self._own("step"), self.step), self.device)
        if self.processes.count * n_microbatches > 1:
            self.masks = torch.Generator(self.device).manual_seed(derive(self.seed, "step", self.step))

    @property
    def fraction(self) -> float:
        """Fraction of the batch that is being processed."""
        return self.shard.count / self.shard.total

    def generator(self, step: int | None = None, *, common: bool = False) -> torch.Generator:
        """Return the random generator of a step, so that its noise can be drawn again.

        Args:
            step: Which step; None for the current one.
            common: Whether it is the same for all shards of the batch.
        """
        return generator(self.seed, "noise" if common else self._own("noise"), self.step if step is None else step, self.device)

    def sample_noise(self, draw: Callable[..., Tensor], step: int | None = None) -> Tensor:
        """Return this shard's rows of ``draw(n, generator=...)`` for the whole batch."""
        return self.local_rows(draw(self.shard.total, generator=self.generator(step, common=True)))

    def local_rows(self, rows: Tensor) -> Tensor:
        """Return this shard's rows of those (B, ...) of the whole batch."""
        return self.shard.take(rows)

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows (n, ...) of the shards of all ranks, in order of rank."""
        return self.processes.gather(rows, self.shard.counts)

    def error(self, error: Exception) -> BaseException:
        """Return what to raise for an error of all ranks, so that only one reports it."""
        return self.processes.error(error)

    def update(self, name: str, loss: Tensor) -> None:
        """Step an optimiser down the gradient of a loss; no other parameter gets a gradient.

        The gradients of a divided batch are added up, and the optimiser steps after the last micro-
        batch.

        Args:
            name: Name of the optimiser.
            loss: Scalar, the mean over the samples at hand.

        Raises:
            ConfigError: A model that steps an optimiser several times per step cannot accumulate
                gradients.
        """
        if self._n_microbatches > 1 and name in self.updated:
            raise ConfigError(f"{option('accumulate')}: this model steps one optimiser several times per step, which has no micro-batches.")
        self.updated.add(name)
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self._number == 0:
            optimizer.zero_grad(set_to_none=True)
        (loss if self.fraction == 1 else loss * self.fraction).backward(inputs=parameters)
        if self._number + 1 < self._n_microbatches:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.processes.all_reduce_sum(gradients)
        if self.settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        optimizer.step()
        self.has_stepped = True

    def _own(self, purpose: str) -> str:
        number = self.processes.rank * self._n_microbatches + self._number
        return f"{purpose}/{number}" if number else purpose
