"""Explicit Wasserstein minimisation (arXiv:1906.03471).

One outer iteration, which counts as an epoch: OTS solves the semi-discrete transport from the generator's samples to the targets, moving
the potential psi by stochastic ascent of the dual; FIT moves the generator towards the targets that its samples were assigned to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pgen.errors import PgenError
from pgen.models.conditional_transport import random_rows, with_labels
from pgen.models.ewm.config import EwmConfig
from pgen.models.ewm.generator import make_generator
from pgen.models.merged_targets import report_merged
from pgen.models.nn import append_columns, make_optimizer
from pgen.ot import DualAscent, Targets, certify, pair_cost
from pgen.ot.solvers.cuda_graph import replayed
from pgen.plugins.specs import DataInfo

OTS, FIT = 0, 1
#: Least steps between two certificates of a solve.
CHECK_EVERY = 50
#: Fresh samples a target in a certificate: with 8, a target of full weight goes without a hit once in 3,000 times.
SAMPLES_A_TARGET = 8
#: What is shown of the last certificate.
CERTIFIED = ("chi2", "chi2_interval", "never_hit", "certified_wasserstein")


class Ewm(nn.Module):
    """State that must survive: the ascent's, the kept pairs, and plain numbers, which a step on a GPU need not wait for: where in the outer
    iteration it is, and the last certificate.

    With conditions a sample is made for the labels of a random target, and transported with these beside it (:mod:`pgen.models.conditional_transport`).

    per_target: state with a row a target, which is shared out to the ranks as the targets are; the rest is the same on all of them.
    """

    per_target = ("hits", *(f"ascent.{name}" for name in ("psi", "average", "weights", "momentum", "square", "tail")))

    pair_hit: Tensor
    hits: Tensor

    def __init__(self, config: EwmConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.size = config, data.size
        self.generator = make_generator(config, data)
        self.ascent = DualAscent(data.count, config.cost, rate=config.psi_lr, slow=config.psi_slow)
        # A pair is a target and the noise that was assigned to it. Of a batch's noise its step is kept: it can be drawn again.
        self.register_buffer("pair_hit", torch.zeros(config.mem_size, dtype=torch.long))
        self.pair_steps: list[int] = []
        self.register_buffer("hits", torch.zeros(data.count, dtype=torch.long))
        # Outer iteration, its phase, steps done in that, and the step at which FIT began.
        self.iteration, self.phase, self.done, self.began = 0, OTS, 0, 0
        self.certified = [math.nan] * len(CERTIFIED)
        self._targets: Targets | None = None  # of the outer iteration at hand
        self._move: Callable[..., tuple[Tensor, Tensor]]  # a step of its solve
        self._label_scale = 0.0
        self._order: tuple[int, list[int]] = (-1, [])  # of the pass over the pairs at hand, which has this number

    @property
    def epoch(self) -> float:
        """Outer iterations done; a solve counts as half of one."""
        length = self.config.ots_steps if self.phase == OTS else len(self.pair_steps) * self.config.fit_passes
        return self.iteration + 0.5 * self.phase + min(0.5, 0.5 * self.done / length) * 0.999

    def get_extra_state(self) -> Tensor:
        numbers = [self.iteration, self.phase, self.done, self.began, *self.certified, *self.pair_steps]
        return torch.tensor(numbers, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        numbers = state.tolist()
        self.iteration, self.phase, self.done, self.began = map(int, numbers[:4])
        self.certified = numbers[4 : 4 + len(CERTIFIED)]
        self.pair_steps = [int(step) for step in numbers[4 + len(CERTIFIED) :]]
        if len(numbers) < 4 + len(CERTIFIED) or (self.phase == FIT and not self.pair_steps):
            raise ValueError("its place in the outer iteration is not whole")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {"generator": make_optimizer(c.g_opt, self.generator.parameters(), c.g_lr, c.beta)}

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.generator(append_columns(noise, condition))

    def sample(self, n: int, *, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self(self.noise(n, generator=generator), condition)

    def histograms(self) -> dict[str, Tensor]:
        """Hits of each target in the last certificate; of equal ones those of all together."""
        return {"hits per target": self.hits[self.hits >= 0]}

    def training_step(self, batch: Tensor, trainer: Any) -> dict[str, Tensor]:
        solving = self.phase == OTS
        if self._targets is None or (solving and not self.done):
            values = self._jittered(batch if batch.layout == torch.sparse_csr else batch.flatten(1), trainer)
            self._targets = Targets(values, trainer.group)
            if trainer.condition is not None:
                weight, random = self.config.label_weight, trainer.generator(-1, common=True)
                self._targets, self._label_scale = with_labels(self._targets, values, trainer.condition, weight, self.config.cost, random)
            if self.iteration == self.done == 0:
                report_merged(self._targets, trainer.log)
            if trainer.batch_size < 2 <= self._targets.total:
                raise trainer.error(PgenError("--batch-size 1: ewm wanted 2 or more, since its steps go by how samples differ."))
            if trainer.group and trainer.batch_size > self.config.mem_size:
                wanted = f"on several ranks wanted --batch-size {trainer.batch_size} or more; begin a run with that"
                raise trainer.error(PgenError(f"--mem-size {self.config.mem_size}: {wanted}."))
            move = partial(self._ascend, self._targets)
            self._move = replayed(move, self._targets) if self.config.replay else move
        return self._solve_step(self._targets, trainer) if solving else self._fit_step(self._targets, trainer)

    def _solve_step(self, targets: Targets, trainer: Any) -> dict[str, Tensor]:
        done, total = self.done, self.config.ots_steps
        # The generator stands still during a solve, dropout and running statistics too.
        self.generator.eval()
        drawn = self._draw_inputs(trainer, trainer.step)
        if done == 0:
            with torch.no_grad():
                self.ascent.begin(self._generate(**drawn), targets)
        self.ascent.plan(targets)
        index, value = self._move(**drawn)
        if done >= total // 3:
            self._store_pairs(trainer.gather(index), trainer.step, done)
        self.done += 1
        # A certificate draws no more samples than the steps since the one before it.
        every = max(CHECK_EVERY, -(-SAMPLES_A_TARGET * targets.total // trainer.batch_size))
        if (done >= total // 3 and (done + 1) % every == 0) or done + 1 == total:
            self._check(targets, trainer, last=done + 1 == total)
        # psi has no mean, so this is the dual.
        return {"wasserstein": value.mean(), **self._certified()}

    @torch.no_grad()
    def _ascend(self, targets: Targets, **drawn: Tensor) -> tuple[Tensor, Tensor]:
        return self.ascent.move(self._generate(**drawn), targets)

    def _fit_step(self, targets: Targets, trainer: Any) -> dict[str, Tensor]:
        self.generator.train()
        number, size = self._next_pairs(trainer), trainer.batch_size
        x = self._generate(**self._draw_inputs(trainer, self.pair_steps[number]))
        hits = trainer.local_rows(self.pair_hit[number * size : (number + 1) * size])
        # Labels are as they are, and have no gradient.
        loss = pair_cost(x[: len(hits), : self.size], targets.rows(hits)[:, : self.size], self.config.cost).mean()
        trainer.update("generator", loss)
        self.done += 1
        if self.done == len(self.pair_steps) * self.config.fit_passes:
            self.iteration, self.phase, self.done, self.pair_steps = self.iteration + 1, OTS, 0, []
        return {"fit_cost": loss, **self._certified()}

    def _next_pairs(self, trainer: Any) -> int:
        """Which of the kept batches is next."""
        kept = len(self.pair_steps)
        if not trainer.shuffle:
            return self.done % kept
        number = self.began + self.done // kept
        if self._order[0] != number:
            order = torch.randperm(kept, generator=trainer.generator(number, common=True), device=trainer.device)
            self._order = number, order.tolist()
        return self._order[1][self.done % kept]

    def _draw_inputs(self, trainer: Any, step: int) -> dict[str, Tensor]:
        """All that is random about a batch of samples, a step's: the same in solve and fit."""
        drawn = {"noise": trainer.sample_noise(self.noise, step)}
        # The numbers of steps, and of the certificates' batches, do not reach so far.
        if self.config.tess_var:
            drawn["jitter"] = trainer.sample_noise(self._jitter, 10**15 + step)
        if trainer.condition is not None:
            drawn["condition"] = trainer.sample_noise(partial(random_rows, rows=trainer.condition), 2 * 10**15 + step)
        return drawn

    def _generate(self, noise: Tensor, jitter: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """The generator's answer (n, D) to what was drawn, with labels beside it."""
        x = self(noise, condition).flatten(1).float()
        x = x if jitter is None else x + jitter
        return x if condition is None else append_columns(x, condition * self._label_scale)

    def _jitter(self, n: int, *, generator: torch.Generator) -> Tensor:
        return self.config.tess_var**0.5 * torch.randn(n, self.size, generator=generator, device=generator.device)

    def _jittered(self, targets: Tensor, trainer: Any) -> Tensor:
        """Targets with the noise of this outer iteration, which lights every pixel; each rank draws its own."""
        if not self.config.tess_var:
            return targets
        targets = targets.to_dense()
        random = trainer.generator(-1 - self.iteration)
        return targets + self.config.tess_var**0.5 * torch.randn(targets.shape, generator=random, device=targets.device)

    @torch.no_grad()
    def _store_pairs(self, index: Tensor, step: int, done: int) -> None:
        """Keep the batch's pairs, the newest ones."""
        slots = max(1, self.config.mem_size // len(index))
        number = done - self.config.ots_steps // 3
        start = number % slots * len(index)
        room = self.pair_hit[start : start + len(index)]
        room.copy_(index[: len(room)])
        if number < slots:
            self.pair_steps.append(step)
        else:
            self.pair_steps[number % slots] = step

    @torch.no_grad()
    def _check(self, targets: Targets, trainer: Any, *, last: bool) -> None:
        """Certify the averaged psi on fresh noise; if it is good enough, or time is up, go on to FIT from it."""
        batches = -(-SAMPLES_A_TARGET * targets.total // trainer.batch_size)
        fresh = (self._generate(**self._draw_inputs(trainer, -(10**9) - trainer.step * 1000 - k)) for k in range(batches))
        found = certify(fresh, targets, self.ascent.average, self.config.cost)
        merged = targets.duplicates
        self.hits.copy_(found.hits.masked_fill(~merged.is_first, -1) if merged else found.hits)
        self.certified = [found.chi2, found.chi2_interval, float(found.never_hit), found.dual]
        if last or found.chi2 <= self.config.chi2:
            self.phase, self.done, self.began = FIT, 0, trainer.step
            # Slots without a pair of this solve repeat the others: all that the buffer holds is of it, each target in its proportion.
            kept = min(self.config.mem_size, len(self.pair_steps) * trainer.batch_size)
            self.pair_hit.copy_(self.pair_hit[:kept].repeat(-(-self.config.mem_size // kept))[: self.config.mem_size])

    def _certified(self) -> dict[str, Tensor]:
        return {} if math.isnan(self.certified[0]) else dict(zip(CERTIFIED, map(torch.tensor, self.certified), strict=True))
