"""Flow matching (Lipman et al. 2023, arXiv:2210.02747): noise is carried to samples along dx/dt = v(x, t), t from 0 to 1.

The network v learns the mean velocity x1 - x0 of straight paths from noise x0 to targets x1, at the points (1 - t) x0 + t x1. Which noise
is paired with which target, the coupling, decides how much these paths cross, and so how curved the flow is. By optimal transport, within
a batch (arXiv:2302.00482) or from noise to all targets, semi-discrete (arXiv:2509.25519), it is straighter, and fewer steps follow it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pgen.errors import UserError
from pgen.models.flow.config import FlowConfig
from pgen.models.flow.coupling import Coupling
from pgen.models.flow.ode import integrate
from pgen.models.flow.velocity import make_velocity
from pgen.models.layers import make_optimizer
from pgen.ot import Targets
from pgen.plugins.contract import DataInfo

#: Targets by which the scale of images is found, on all ranks together.
LOOKED_AT = 1024
#: What is shown of the coupling's certificate.
CERTIFIED = ("chi2", "never_hit")
#: Random numbers of a step that are not those of its noise come from generators of steps that no run reaches.
TIMES = 10**15


class Flow(nn.Module):
    """sample: noise (n, *shape) to codes, or to images in [0, 1].

    Images are shifted and scaled to mean 0 and spread 1 over all pixels, the scale of the noise; codes come so. State besides the network:
    that scale, the coupling's potential (a row a target) and how good it is, and how many targets have been seen.
    """

    per_target = ("coupling.psi",)

    centre: Tensor
    spread: Tensor

    def __init__(self, config: FlowConfig, data: DataInfo) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.velocity = make_velocity(config, data)
        self.coupling = Coupling(config.coupling, data.count, config.chi2)
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        # Plain numbers: a step on a GPU need not wait to learn them. Targets are those of all ranks, counted in the first step.
        self.seen, self.count = 0, 0
        self.certified: dict[str, float] = {}
        self._targets: Targets | None = None

    @property
    def epoch(self) -> float:
        """How often as many targets have been seen as there are."""
        return self.seen / max(1, self.count)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.seen, self.count, *self.certified.values()], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        seen, count, *certified = state.tolist()
        self.seen, self.count = int(seen), int(count)
        self.certified = dict(zip(CERTIFIED, certified, strict=False))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {"velocity": make_optimizer(c.opt, self.velocity.parameters(), c.lr, c.beta)}

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(n, *self.data.shape, generator=generator, device=generator.device)

    def forward(self, noise: Tensor) -> Tensor:
        x = integrate(self.velocity, noise, self.config.n_steps, self.config.solver)
        x = x * self.spread + self.centre
        return x.clamp(0, 1) if self.data.kind == "images" else x

    def sample(self, n: int, *, generator: torch.Generator, labels: Any = None) -> Tensor:
        return self(self.noise(n, generator=generator))

    def training_step(self, batch: Tensor, trainer: Any) -> dict[str, Tensor]:
        if self._targets is None:
            self._targets = Targets(batch if batch.layout == torch.sparse_csr else batch.flatten(1), trainer.group)
        if self.seen == 0:
            self._begin(self._targets, trainer)
        x0 = trainer.drawn(self.noise)
        index = self.coupling.targets_of(x0.flatten(1) * self.spread + self.centre, self._targets, trainer)
        x1 = (self._targets.rows(index).view_as(x0) - self.centre) / self.spread
        t = trainer.drawn(_times, TIMES + trainer.step)
        at = t.view(-1, *[1] * (x0.ndim - 1))
        loss = (self.velocity((1 - at) * x0 + at * x1, t) - (x1 - x0)).square().mean()
        trainer.update("velocity", loss)
        self.seen += trainer.batch_size
        return {"loss": loss, **{name: torch.tensor(value) for name, value in self.certified.items()}}

    @torch.no_grad()
    def _begin(self, targets: Targets, trainer: Any) -> None:
        """Find the scale of images, and solve for the coupling."""
        if not trainer.shuffle:
            raise trainer.ranks.error(UserError("--no-shuffle: flow draws its targets at random; leave it out."))
        self.count = targets.total
        if self.data.kind == "images":
            few = torch.randint(targets.total, (LOOKED_AT,), generator=trainer.generator(-1, common=True), device=trainer.device)
            rows = targets.rows(few[targets.rank :: targets.ranks][: LOOKED_AT // targets.ranks]).double()
            mean, square = (targets.gather(part.mean(dim=1)).mean() for part in (rows, rows.square()))
            self.centre.copy_(mean)
            self.spread.copy_((square - mean**2).sqrt().clamp_min(1e-6))
        found = self.coupling.begin(targets, self._scaled_noise, trainer)
        if found is not None:
            self.certified = dict(zip(CERTIFIED, (found.chi2, float(found.never_hit)), strict=True))

    def _scaled_noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return self.noise(n, generator=generator).flatten(1) * self.spread + self.centre


def _times(n: int, *, generator: torch.Generator) -> Tensor:
    # One in each of n equal intervals, in random order: less noise than n independent ones.
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (order + torch.rand(n, generator=generator, device=generator.device)) / n
