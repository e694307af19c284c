"""Explicit Wasserstein minimisation (arXiv:1906.03471).

One outer iteration, which counts as an epoch: OTS solves the semi-discrete transport from the
generator's samples to the targets by stochastic ascent of the dual; FIT regresses the generator to
the targets that its samples were assigned to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pgen.errors import ConfigError, option
from pgen.models.ewm.config import EwmConfig
from pgen.models.ewm.generator import make_generator
from pgen.models.nn import append_columns, make_optimizer
from pgen.models.transport import log_merged_targets, random_rows, with_labels
from pgen.ot import DualAscent, Targets, certify, pair_cost
from pgen.ot.solvers.cuda_graph import make_graphed
from pgen.plugins.protocols import Trainer
from pgen.plugins.specs import DataInfo

OTS, FIT = 0, 1
#: Least number of steps between two certificates of a solve.
CHECK_EVERY = 50
#: Fresh samples per target in a certificate: with 8, a target of full mass is never hit once in
#: 3,000 times.
SAMPLES_PER_TARGET = 8
#: Values of the last certificate that are logged.
CERTIFIED = ("chi2", "chi2_interval", "never_hit", "certified_wasserstein")
#: Step numbers that no run reaches, whose generators draw what a step needs besides its noise.
JITTER_STEPS, LABEL_STEPS = 10**15, 2 * 10**15


class Ewm(nn.Module):
    """Generates latent codes or images from noise, fitted by optimal transport.

    With conditions, a sample gets the labels of a random target, and is transported together with
    them (:mod:`pgen.models.transport`).

    Attributes:
        per_target: State with a row per target, which ranks share as they share the targets.
        pair_hit: (mem_size,) targets of the kept pairs. Of the noise only the step is kept, in
            ``pair_steps``: it can be drawn again.
        hits: (N,) hits of each target in the last certificate; -1 for duplicates of another.
        iteration: Outer iterations so far.
        phase: OTS or FIT.
        done: Steps done in this phase.
        fit_start_step: The step at which FIT began.
        certified: The last certificate.
    """

    per_target = ("hits", *(f"ascent.{name}" for name in ("psi", "average", "weights", "momentum", "square", "tail")))

    pair_hit: Tensor
    hits: Tensor

    def __init__(self, config: EwmConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.size = config, data.size
        self.generator = make_generator(config, data)
        self.ascent = DualAscent(data.count, config.cost, rate=config.psi_lr, slow=config.psi_slow)
        self.register_buffer("pair_hit", torch.zeros(config.mem_size, dtype=torch.long))
        self.pair_steps: list[int] = []
        self.register_buffer("hits", torch.zeros(data.count, dtype=torch.long))
        # Python numbers, so that a step need not wait for a GPU.
        self.iteration, self.phase, self.done, self.fit_start_step = 0, OTS, 0, 0
        self.certified = [math.nan] * len(CERTIFIED)
        self._targets: Targets | None = None  # of this outer iteration
        self._ascend: Callable[..., tuple[Tensor, Tensor]]  # a step of its solve
        self._label_scale = 0.0
        self._order: tuple[int, list[int]] = (-1, [])  # number and order of this pass over the pairs

    @property
    def epoch(self) -> float:
        """Outer iterations so far; a solve counts as half of one."""
        length = self.config.ots_steps if self.phase == OTS else len(self.pair_steps) * self.config.fit_passes
        return self.iteration + 0.5 * self.phase + min(0.5, 0.5 * self.done / length) * 0.999

    def get_extra_state(self) -> Tensor:
        """Return the position in the outer iteration and the last certificate."""
        numbers = [self.iteration, self.phase, self.done, self.fit_start_step, *self.certified, *self.pair_steps]
        return torch.tensor(numbers, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the position in the outer iteration and the last certificate."""
        numbers = state.tolist()
        self.iteration, self.phase, self.done, self.fit_start_step = map(int, numbers[:4])
        self.certified = numbers[4 : 4 + len(CERTIFIED)]
        self.pair_steps = [int(step) for step in numbers[4 + len(CERTIFIED) :]]
        if len(numbers) < 4 + len(CERTIFIED) or (self.phase == FIT and not self.pair_steps):
            raise ValueError("the position in the outer iteration is incomplete")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Create the optimiser of the generator."""
        c = self.config
        return {"generator": make_optimizer(c.g_opt, self.generator.parameters(), c.g_lr, c.beta)}

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw noise (n, z_dim)."""
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate samples from noise and labels (n, K)."""
        return self.generator(append_columns(noise, condition))

    def sample(self, n: int, *, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """Draw n samples."""
        return self(self.noise(n, generator=generator), condition)

    def histograms(self) -> dict[str, Tensor]:
        """Return the hits of each target in the last certificate; equal ones count together."""
        return {"hits per target": self.hits[self.hits >= 0]}

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """Do one step of solving or fitting."""
        is_solving = self.phase == OTS
        if self._targets is None or (is_solving and not self.done):
            self._targets = self._prepare(batch, trainer)
        return self._solve_step(self._targets, trainer) if is_solving else self._fit_step(self._targets, trainer)

    def _prepare(self, batch: Tensor, trainer: Trainer) -> Targets:
        """Make the targets of an outer iteration."""
        values = self._add_jitter(batch if batch.layout == torch.sparse_csr else batch.flatten(1), trainer)
        targets = Targets(values, trainer.group)
        if trainer.condition is not None:
            weight, generator = self.config.label_weight, trainer.generator(-1, common=True)
            targets, self._label_scale = with_labels(targets, values, trainer.condition, weight, self.config.cost, generator)
        if self.iteration == self.done == 0:
            log_merged_targets(targets, trainer.log)
        if trainer.batch_size < 2 <= targets.total:
            problem = "ewm needs 2 or more, since its steps depend on how samples differ"
            raise trainer.error(ConfigError(f"{option('batch_size', 1)}: {problem}."))
        if trainer.group and trainer.batch_size > self.config.mem_size:
            raise trainer.error(
                ConfigError(
                    f"{option('mem_size', self.config.mem_size)}: several ranks need {option('batch_size', trainer.batch_size)} or more; "
                    "start a run with that."
                )
            )
        step = partial(self._device_step, targets)
        self._ascend = make_graphed(step, targets) if self.config.replay else step
        return targets

    def _solve_step(self, targets: Targets, trainer: Trainer) -> dict[str, Tensor]:
        done, total = self.done, self.config.ots_steps
        # The generator is fixed during a solve, including dropout and running statistics.
        self.generator.eval()
        inputs = self._draw_inputs(trainer, trainer.step)
        if done == 0:
            with torch.no_grad():
                self.ascent.begin(self._generate(**inputs), targets)
        self.ascent.host_step(targets)
        index, value = self._ascend(**inputs)
        if done >= total // 3:
            self._store_pairs(trainer.gather(index), trainer.step, done)
        self.done += 1
        # A certificate draws no more samples than the steps since the previous one.
        every = max(CHECK_EVERY, -(-SAMPLES_PER_TARGET * targets.total // trainer.batch_size))
        if (done >= total // 3 and (done + 1) % every == 0) or done + 1 == total:
            self._certify(targets, trainer, last=done + 1 == total)
        # psi has mean 0, so this is the dual.
        return {"wasserstein": value.mean(), **self._certified_metrics()}

    @torch.no_grad()
    def _device_step(self, targets: Targets, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.ascent.device_step(self._generate(**inputs), targets)

    def _fit_step(self, targets: Targets, trainer: Trainer) -> dict[str, Tensor]:
        self.generator.train()
        number, size = self._next_pairs(trainer), trainer.batch_size
        x = self._generate(**self._draw_inputs(trainer, self.pair_steps[number]))
        hits = trainer.local_rows(self.pair_hit[number * size : (number + 1) * size])
        # Without the labels, which are inputs and have no gradient.
        loss = pair_cost(x[: len(hits), : self.size], targets.rows(hits)[:, : self.size], self.config.cost).mean()
        trainer.update("generator", loss)
        self.done += 1
        if self.done == len(self.pair_steps) * self.config.fit_passes:
            self.iteration, self.phase, self.done, self.pair_steps = self.iteration + 1, OTS, 0, []
        return {"fit_cost": loss, **self._certified_metrics()}

    def _next_pairs(self, trainer: Trainer) -> int:
        """Return the number of the next batch of pairs."""
        count = len(self.pair_steps)
        if not trainer.shuffle:
            return self.done % count
        number = self.fit_start_step + self.done // count
        if self._order[0] != number:
            order = torch.randperm(count, generator=trainer.generator(number, common=True), device=trainer.device)
            self._order = number, order.tolist()
        return self._order[1][self.done % count]

    def _draw_inputs(self, trainer: Trainer, step: int) -> dict[str, Tensor]:
        """Draw all random inputs of a step's batch of samples: the same in solving and fitting."""
        inputs = {"noise": trainer.sample_noise(self.noise, step)}
        if self.config.tess_var:
            inputs["jitter"] = trainer.sample_noise(self._jitter, JITTER_STEPS + step)
        if trainer.condition is not None:
            inputs["condition"] = trainer.sample_noise(partial(random_rows, rows=trainer.condition), LABEL_STEPS + step)
        return inputs

    def _generate(self, noise: Tensor, jitter: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Generate samples (n, D), with scaled labels appended."""
        x = self(noise, condition).flatten(1).float()
        x = x if jitter is None else x + jitter
        return x if condition is None else append_columns(x, condition * self._label_scale)

    def _jitter(self, n: int, *, generator: torch.Generator) -> Tensor:
        return self.config.tess_var**0.5 * torch.randn(n, self.size, generator=generator, device=generator.device)

    def _add_jitter(self, targets: Tensor, trainer: Trainer) -> Tensor:
        """Add the noise of this outer iteration to targets, which makes all values nonzero."""
        if not self.config.tess_var:
            return targets
        targets = targets.to_dense()
        generator = trainer.generator(-1 - self.iteration)  # each rank draws its own
        return targets + self.config.tess_var**0.5 * torch.randn(targets.shape, generator=generator, device=targets.device)

    @torch.no_grad()
    def _store_pairs(self, index: Tensor, step: int, done: int) -> None:
        """Store the targets of a batch, in place of the oldest ones."""
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
    def _certify(self, targets: Targets, trainer: Trainer, *, last: bool) -> None:
        """Certify the averaged psi on fresh noise; if it is good enough, begin to fit."""
        batches = -(-SAMPLES_PER_TARGET * targets.total // trainer.batch_size)
        fresh = (self._generate(**self._draw_inputs(trainer, -(10**9) - trainer.step * 1000 - k)) for k in range(batches))
        certificate = certify(fresh, targets, self.ascent.average, self.config.cost)
        duplicates = targets.duplicates
        self.hits.copy_(certificate.hits.masked_fill(~duplicates.is_first, -1) if duplicates else certificate.hits)
        self.certified = [certificate.chi2, certificate.chi2_interval, float(certificate.never_hit), certificate.dual]
        if last or certificate.chi2 <= self.config.chi2:
            self.phase, self.done, self.fit_start_step = FIT, 0, trainer.step
            # Slots without a pair of this solve repeat the others, so that the buffer holds only
            # this solve's, each target in proportion.
            kept = min(self.config.mem_size, len(self.pair_steps) * trainer.batch_size)
            self.pair_hit.copy_(self.pair_hit[:kept].repeat(-(-self.config.mem_size // kept))[: self.config.mem_size])

    def _certified_metrics(self) -> dict[str, Tensor]:
        return {} if math.isnan(self.certified[0]) else dict(zip(CERTIFIED, map(torch.tensor, self.certified), strict=True))
