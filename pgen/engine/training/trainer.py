"""What a model sees of the engine while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import BatchShard, ProcessGroup
from pgen.engine.runtime.seeding import derive, generator, reseed
from pgen.errors import PgenError


class Trainer:
    """Passed to ``training_step``. A batch may be divided between several GPUs, or done piece by piece; a model need not know.

    step: number of the step being done, from 0. seed: of the run. batch_size, shuffle: the user's options of these names; batch_size
    counts all ranks' samples. group: the processes that share out the targets (:class:`pgen.ot.Targets`), None alone. optimizers: as the
    model made them. moved: whether a weight has moved in this step. updated: the
    optimisers that were given a loss in this part of it. part: what is being done of the batch. condition: (n, K) what there is to know of
    the labels of its samples, see :class:`pgen.plugins.specs.Condition`; of all targets, on every rank, for a model that is given
    them; None without ``--condition``. say: tells the user a line, and the log, from the first rank: for a step that takes long.
    """

    def __init__(
        self,
        optimizers: dict[str, torch.optim.Optimizer],
        device: torch.device,
        settings: TrainConfig,
        ranks: ProcessGroup | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.optimizers, self.device, self.settings = optimizers, device, settings
        self.log = log or (lambda text: None)
        self.ranks = ranks or ProcessGroup()
        self.seed, self.batch_size, self.shuffle = settings.seed, settings.batch_size, settings.shuffle
        self.group = self.ranks.group
        self.step, self.has_stepped = 0, False
        self.shard, self._number, self._pieces = self.ranks.parts(self.batch_size)[0], 0, 1
        self.updated: set[str] = set()  # optimisers, in this part
        self.condition: Tensor | None = None
        self.masks: torch.Generator | None = None  # of dropout, see pgen.engine.training.sync_layers
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def start_step(self, step: int, done: float) -> None:
        """Before a step: learning rates at the fraction ``done`` of the run, from the model's own down to ``--lr-decay`` times that along
        half a cosine, after a rise from nothing in the first ``--warm-up`` steps. A model may still set its own in ``training_step``."""
        self.step, self.has_stepped = step, False
        last = self.settings.lr_decay
        factor = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        factor *= min(1.0, (step + 1) / max(1, self.settings.warm_up))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]

    def start_microbatch(self, part: BatchShard, number: int, pieces: int, condition: Tensor | None = None) -> None:
        """Before the ``number``-th of ``pieces`` parts of a batch that are done here, one after the other."""
        self.shard, self._number, self._pieces, self.condition = part, number, pieces, condition
        self.updated.clear()
        # Seeded anew, so that dropout and the like do not depend on where a run was interrupted.
        reseed(derive(self.seed, self._own("step"), self.step), self.device)
        if self.ranks.count * pieces > 1:
            self.masks = torch.Generator(self.device).manual_seed(derive(self.seed, "step", self.step))

    @property
    def share(self) -> float:
        """What part of the whole batch is being done."""
        return self.shard.count / self.shard.total

    def generator(self, step: int | None = None, *, common: bool = False) -> torch.Generator:
        """The random generator of a step (None: of this one), always at its beginning: the same noise can be drawn again later. It is of
        this part of the batch, or with ``common`` the same for all parts."""
        return generator(self.seed, "noise" if common else self._own("noise"), self.step if step is None else step, self.device)

    def sample_noise(self, draw: Callable[..., Tensor], step: int | None = None) -> Tensor:
        """The rows, for this part of the batch, of ``draw(n, generator=...)`` for the whole one: the same however it is divided."""
        return self.local_rows(draw(self.shard.total, generator=self.generator(step, common=True)))

    def local_rows(self, rows: Tensor) -> Tensor:
        """Of the rows of a whole batch (B, ...) those of this part."""
        return self.shard.of(rows)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (n, ...) of the parts that all ranks are doing now, in order of rank."""
        return self.ranks.gather(rows, self.shard.counts)

    def error(self, error: Exception) -> BaseException:
        """An error that all ranks meet alike, to be raised by each and reported by rank 0."""
        return self.ranks.error(error)

    def update(self, name: str, loss: Tensor) -> None:
        """Move the optimiser called ``name`` down the gradient of ``loss``, a scalar, the mean over the samples at hand. No other parameter
        gets a gradient. Of a divided batch the gradients are added up, and the optimiser moves after the last part."""
        if self._pieces > 1 and name in self.updated:
            raise PgenError("--accumulate: this model moves one optimiser several times a step, which has no pieces; leave it out.")
        self.updated.add(name)
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self._number == 0:
            optimizer.zero_grad(set_to_none=True)
        (loss if self.share == 1 else loss * self.share).backward(inputs=parameters)
        if self._number + 1 < self._pieces:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.ranks.all_reduce_sum(gradients)
        if self.settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        optimizer.step()
        self.has_stepped = True

    def _own(self, purpose: str) -> str:
        number = self.ranks.rank * self._pieces + self._number
        return f"{purpose}/{number}" if number else purpose
