"""Explicit Wasserstein minimisation (arXiv:1906.03471).

One outer iteration, which counts as an epoch: OTS solves the semi-discrete transport from the generator's samples to the targets, moving
the potential psi by stochastic ascent of the dual; FIT moves the generator towards the targets that its samples were assigned to.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pgen.models.ewm.config import EwmConfig
from pgen.models.ewm.generator import make_generator
from pgen.models.layers import make_optimizer
from pgen.ot import Certificate, Targets, assign, certify, cost_matrix, pair_cost
from pgen.plugins.contract import DataInfo

OTS, FIT = 0, 1
#: Least steps between two certificates of a solve.
CHECK_EVERY = 50
#: Fresh samples a target in a certificate: with 8, a target of full weight goes without a hit once in 3,000 times.
SAMPLES_A_TARGET = 8


class Ewm(nn.Module):
    """State that must survive is in buffers: psi, its average, the kept pairs, and where in the outer iteration it stands."""

    average: Tensor
    average_weight: Tensor
    spread: Tensor
    pair_step: Tensor
    pair_hit: Tensor
    hits: Tensor
    place: Tensor

    def __init__(self, config: EwmConfig, data: DataInfo) -> None:
        super().__init__()
        self.config = config
        self.generator = make_generator(config, data)
        self.psi = nn.Parameter(torch.zeros(data.count))
        self.register_buffer("average", torch.zeros(data.count))
        self.register_buffer("average_weight", torch.zeros(()))
        self.register_buffer("spread", torch.zeros(()))
        # A pair is a target and the step whose noise was assigned to it: the noise itself can be drawn again.
        self.register_buffer("pair_step", torch.zeros(config.mem_size, dtype=torch.long))
        self.register_buffer("pair_hit", torch.zeros(config.mem_size, dtype=torch.long))
        self.register_buffer("hits", torch.zeros(data.count, dtype=torch.long))
        # outer iteration, phase, steps done in it, batches kept, step at which FIT began
        self.register_buffer("place", torch.zeros(5, dtype=torch.long))
        self._certificate: Certificate | None = None
        self._targets: Targets | None = None  # of the solve at hand

    @property
    def epoch(self) -> float:
        """Outer iterations done; a solve counts as half of one."""
        iteration, phase, done, kept, _ = self.place.tolist()
        length = self.config.ots_steps if phase == OTS else max(1, kept * self.config.fit_passes)
        return iteration + 0.5 * phase + min(0.5, 0.5 * done / length) * 0.999

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {
            "generator": make_optimizer(c.g_opt, self.generator.parameters(), c.g_lr, c.beta),
            "psi": torch.optim.Adam([self.psi], lr=c.psi_lr, betas=(0.9, 0.99)),
        }

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(n, self.config.z_dim, generator=generator, device=generator.device)

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)

    def sample(self, n: int, *, generator: torch.Generator, labels: Any = None) -> Tensor:
        return self(self.noise(n, generator=generator))

    def histograms(self) -> dict[str, Tensor]:
        """Hits of each target in the last certificate."""
        return {"hits per target": self.hits}

    def training_step(self, batch: Tensor, trainer: Any) -> dict[str, Tensor]:
        targets = batch.flatten(1)
        return self._solve_step(targets, trainer) if int(self.place[1]) == OTS else self._fit_step(targets, trainer)

    def _solve_step(self, targets: Tensor, trainer: Any) -> dict[str, Tensor]:
        done, total = int(self.place[2]), self.config.ots_steps
        # The generator stands still during a solve, dropout and running statistics too.
        self.generator.eval()
        if done == 0 or self._targets is None:
            self._targets = Targets(self._jittered_targets(targets, trainer))
        with torch.no_grad():
            x = self._samples(trainer, trainer.step, trainer.batch_size)
        if done == 0:
            self.spread.copy_(cost_matrix(x[:256], self._targets.dense[:4096], self.config.cost).std(correction=0))
        for group in trainer.optimizers["psi"].param_groups:
            group["lr"] = self.config.psi_lr * float(self.spread) * self.config.psi_decay ** (done / total)
        index, value = assign(x, self._targets, self.psi, self.config.cost)
        dual = value.mean() + self.psi.detach().mean()
        frequency = torch.bincount(index, minlength=len(targets)) / len(index)
        # Minus the gradient of the dual, b_j - P(hit = j): centred, since both sum to 1.
        trainer.update("psi", (self.psi * (frequency - 1 / len(targets))).sum())
        with torch.no_grad():
            self.psi.sub_(self.psi.mean())
        if done >= total // 3:
            self._keep(index, trainer.step, done)
        self.place[2] += 1
        # A certificate draws no more samples than the steps since the one before it.
        every = max(CHECK_EVERY, -(-SAMPLES_A_TARGET * len(targets) // trainer.batch_size))
        if (done >= total // 3 and (done + 1) % every == 0) or done + 1 == total:
            self._check(self._targets, trainer, last=done + 1 == total)
        return {"wasserstein": dual, **self._certified()}

    def _fit_step(self, targets: Tensor, trainer: Any) -> dict[str, Tensor]:
        self.generator.train()
        _, _, done, kept, began = self.place.tolist()
        order = torch.arange(kept)
        if trainer.shuffle:
            order = torch.randperm(kept, generator=trainer.generator(began + done // kept), device=trainer.device)
        size = trainer.batch_size
        pairs = slice(int(order[done % kept]) * size, (int(order[done % kept]) + 1) * size)
        targets = self._jittered_targets(targets, trainer)
        x = self._samples(trainer, int(self.pair_step[pairs][0]), size)
        hits = self.pair_hit[pairs]
        loss = pair_cost(x[: len(hits)], targets[hits], self.config.cost).mean()
        trainer.update("generator", loss)
        self.place[2] += 1
        if done + 1 == kept * self.config.fit_passes:
            self.place.copy_(torch.tensor([int(self.place[0]) + 1, OTS, 0, 0, 0]))
            self.average_weight.zero_()
        return {"fit_cost": loss, **self._certified()}

    def _samples(self, trainer: Any, step: int, n: int) -> Tensor:
        """The generator's answer (n, D) to the noise of a step, with that step's jitter: the same in solve and fit."""
        random = trainer.generator(step)
        x = self(self.noise(n, generator=random)).flatten(1).float()
        if self.config.tess_var:
            x = x + self.config.tess_var**0.5 * torch.randn(x.shape, generator=random, device=x.device)
        return x

    def _jittered_targets(self, targets: Tensor, trainer: Any) -> Tensor:
        if not self.config.tess_var:
            return targets
        random = trainer.generator(-1 - int(self.place[0]))
        return targets + self.config.tess_var**0.5 * torch.randn(targets.shape, generator=random, device=targets.device)

    @torch.no_grad()
    def _keep(self, index: Tensor, step: int, done: int) -> None:
        """Average psi with weights that grow with time, and keep the batch's pairs, the newest ones."""
        weight = done + 1
        self.average_weight += weight
        self.average.lerp_(self.psi, float(weight / self.average_weight))
        slots = max(1, self.config.mem_size // len(index))
        number = done - self.config.ots_steps // 3
        start = number % slots * len(index)
        room = self.pair_hit[start : start + len(index)]
        room.copy_(index[: len(room)])
        self.pair_step[start : start + len(index)] = step
        self.place[3] = min(number + 1, slots)

    @torch.no_grad()
    def _check(self, targets: Targets, trainer: Any, *, last: bool) -> None:
        """Certify the averaged psi on fresh noise; if it is good enough, or time is up, go on to FIT from it."""
        size = trainer.batch_size
        fresh = (
            self._samples(trainer, -(10**9) - trainer.step * 1000 - k, size) for k in range(-(-SAMPLES_A_TARGET * len(targets) // size))
        )
        self._certificate = certify(fresh, targets, self.average, self.config.cost)
        self.hits.copy_(self._certificate.hits)
        if last or self._certificate.chi2 <= self.config.chi2:
            self.psi.copy_(self.average - self.average.mean())
            self.place.copy_(torch.tensor([int(self.place[0]), FIT, 0, int(self.place[3]), trainer.step]))

    def _certified(self) -> dict[str, Tensor]:
        found = self._certificate
        if found is None:
            return {}
        return {
            "chi2": torch.tensor(found.chi2),
            "never_hit": torch.tensor(float(found.never_hit)),
            "certified_wasserstein": torch.tensor(found.wasserstein),
        }
