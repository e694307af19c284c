"""Flow matching (Lipman et al. 2023, arXiv:2210.02747): noise is carried to samples along dx/dt = v(x, t), t from 0 to 1.

The network v learns the mean velocity x1 - x0 of straight paths from noise x0 to targets x1, at the points (1 - t) x0 + t x1. Which noise
is paired with which target, the coupling, decides how much these paths cross, and so how curved the flow is. By optimal transport, within
a batch (arXiv:2302.00482) or from noise to all targets, semi-discrete (arXiv:2509.25519), it is straighter, and fewer steps follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pgen.errors import PgenError
from pgen.models.conditional_transport import random_rows, with_labels
from pgen.models.flow.config import FlowConfig
from pgen.models.flow.coupling import COST, Coupling
from pgen.models.flow.networks import make_velocity
from pgen.models.flow.ode import integrate
from pgen.models.flow.sde import integrate_with_noise
from pgen.models.flow.time_schedule import Times
from pgen.models.merged_targets import report_merged
from pgen.models.nn import append_columns, make_optimizer, standardising_norm
from pgen.ot import Targets
from pgen.plugins.specs import DataInfo

#: Targets by which the scale of images is found, on all ranks together.
LOOKED_AT = 1024
#: Samples that mean and spread are measured on, and how many at a time.
MEASURED, AT_A_TIME = 2048, 256
#: Solvers by the numbers that stand for them in a model's state.
SOLVERS = get_args(FlowConfig.model_fields["solver"].annotation)
#: What is shown of the coupling's certificate.
CERTIFIED = ("chi2", "never_hit")
#: Random numbers of a step that are not those of its noise come from generators of steps that no run reaches.
TIMES, LABELS, DROPPED = 10**15, 3 * 10**15, 4 * 10**15


class Flow(nn.Module):
    """sample: noise (n, *shape), or with the solver sde (n, steps, *shape), to codes, or to images in model space.

    Images are shifted and scaled to mean 0 and spread 1 over all pixels, the scale of the noise; codes come so. State besides the network:
    that scale, the coupling's potential (a row a target) and how good it is, how many targets have been seen, and for codes mean and spread
    of samples, by which these are held at those of the targets, with the sampler that they were measured of: other steps lead to other
    ones. With conditions noise is given the labels of a random target, and coupled together with these (:mod:`pgen.models.conditional_transport`).
    """

    per_target = ("coupling.psi",)

    centre: Tensor
    spread: Tensor
    measured: Tensor

    def __init__(self, config: FlowConfig, data: DataInfo) -> None:
        super().__init__()
        if config.solver == "sde" and config.coupling != "independent":
            raise PgenError(
                f"--solver sde: it is for noise that goes to any target, found --coupling {config.coupling}; "
                "train with --coupling independent, or sample with --solver heun."
            )
        self.config, self.data = config, data
        self.velocity = make_velocity(config, data)
        self.coupling = Coupling(config.coupling, data.count, config.chi2)
        self.moments = standardising_norm(data.map_shape or data.shape) if data.kind == "codes" else nn.Identity()
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        # The sampler that the moments belong to; zeros where they are to be measured, as where an earlier version wrote the state.
        self.register_buffer("measured", torch.zeros(3, dtype=torch.float64))
        self.register_load_state_dict_pre_hook(lambda module, state, prefix, *_: state.setdefault(f"{prefix}measured", torch.zeros(3)))
        # Plain numbers: a step on a GPU need not wait to learn them. Targets are those of all ranks, counted in the first step.
        self.seen, self.count = 0, 0
        self.certified: dict[str, float] = {}
        self._batch: Tensor | None = None  # of which the targets were made
        self._targets: Targets | None = None
        self._label_scale = 0.0

    @property
    def times(self) -> Times:
        return Times.of(self.count, self.data.size)

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

    @property
    def steps(self) -> int:
        return self.config.n_steps or (32 if self.config.solver == "sde" else 16)

    @torch.no_grad()
    def prepare_sampling(self, *, generator: torch.Generator, conditions: Tensor | None, say: Callable[[str], None]) -> None:
        """Measure mean and spread of samples, by which these are held at those of the targets. A network too smooth to tell neighbouring
        targets apart goes to their middle, where there is none, and whose spread is less; and few steps end short of the targets."""
        guidance = self.config.guidance if self.data.conditions else 1.0
        sampler = [SOLVERS.index(self.config.solver), self.steps, guidance]
        if self.data.kind != "codes" or not self.config.match_moments or self.measured.tolist() == sampler:
            return
        say(f"measuring mean and spread of {MEASURED:,} samples by {self.steps} steps of {self.config.solver}")
        samples = []
        for _ in range(0, MEASURED, AT_A_TIME):
            noise = self.noise(AT_A_TIME, generator=generator)
            labels = None if conditions is None else random_rows(AT_A_TIME, generator=generator, rows=conditions)
            samples.append(self._integrate(noise, labels))
        (norm,) = (module for module in self.moments.modules() if isinstance(module, _BatchNorm))
        norm.reset_running_stats()
        norm.momentum = 1.0  # as they are, with no memory of others
        self.moments.train()(torch.cat(samples))
        self.moments.eval()
        self.measured.copy_(torch.tensor(sampler))

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        """All that a sample needs: where it begins, and for ``sde`` what is added on the way."""
        if self.config.solver != "sde":
            return self.beginning(n, generator=generator)
        return torch.randn(n, self.steps, *self.data.shape, generator=generator, device=generator.device)

    def beginning(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Noise (n, *shape), where paths to targets begin."""
        return torch.randn(n, *self.data.shape, generator=generator, device=generator.device)

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        x = self._integrate(noise, condition)
        if self.data.kind == "images":
            return (x * self.spread + self.centre).clamp(-1 if self.data.signed else 0, 1)
        return self.moments(x) if self.config.match_moments else x

    def sample(self, n: int, *, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self(self.noise(n, generator=generator), condition)

    def _integrate(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        """Where the flow takes noise."""
        field = self._field if condition is None else partial(self._guided, condition)
        times = self.times.of_steps(self.steps)
        if self.config.solver == "sde":
            return integrate_with_noise(field, noise, times)
        return integrate(field, noise, times, self.config.solver)

    def _field(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        """The velocity. The network says what it differs by from that of a normal distribution, which under transport stands still."""
        velocity = self.velocity(x, t, told)
        if self.config.coupling != "independent":
            return velocity
        at = _spread_out(t, x)
        return velocity + (2 * at - 1) / (at.square() + (1 - at).square()) * x

    def _guided(self, condition: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The velocity for a condition; with guidance, further from that without (arXiv:2207.12598)."""
        told = self._field(x, t, _with_known_flag(condition))
        if self.config.guidance == 1:
            return told
        untold = self._field(x, t, 0 * _with_known_flag(condition))
        return untold + self.config.guidance * (told - untold)

    def training_step(self, batch: Tensor, trainer: Any) -> dict[str, Tensor]:
        if batch is not self._batch:
            self._batch = batch
            self._prepare(batch if batch.layout == torch.sparse_csr else batch.flatten(1), trainer)
        assert self._targets is not None
        x0 = trainer.sample_noise(self.beginning)
        index = self.coupling.targets_of(self._coupled(x0, self._labels_of(trainer)), self._targets, trainer)
        x1 = (self._targets.rows(index)[:, : self.data.size].view_as(x0) - self.centre) / self.spread
        t = self.times(trainer.sample_noise(_stratified_uniform, TIMES + trainer.step))
        at = _spread_out(t, x0)
        loss = (self._field((1 - at) * x0 + at * x1, t, self._drop_labels(index, trainer)) - (x1 - x0)).square().mean()
        trainer.update("velocity", loss)
        self.measured.zero_()
        self.seen += trainer.batch_size
        return {"loss": loss, **{name: torch.tensor(value) for name, value in self.certified.items()}}

    @torch.no_grad()
    def _prepare(self, values: Tensor, trainer: Any) -> None:
        """Make the targets ready; in the first step, find the scale of images too, and solve for the coupling."""
        if not trainer.shuffle:
            raise trainer.error(PgenError("--no-shuffle: flow draws its targets at random; leave it out."))
        targets, condition = Targets(values, trainer.group), trainer.condition
        if self.seen == 0:
            self._find_scale(targets, trainer)
        if condition is not None:
            weight, random = self.config.label_weight, trainer.generator(-4, common=True)
            targets, self._label_scale = with_labels(targets, values, condition, weight, COST, random)
        self._targets = targets
        if self.seen == 0:
            self.count = targets.total
            if self.config.coupling == "semidiscrete":
                report_merged(targets, trainer.log)
            found = self.coupling.begin(targets, partial(self._noise_beside_labels, condition), trainer)
            if found is not None:
                self.certified = dict(zip(CERTIFIED, (found.chi2, float(found.never_hit)), strict=True))

    def _find_scale(self, targets: Targets, trainer: Any) -> None:
        if self.data.kind == "images":
            few = torch.randint(targets.total, (LOOKED_AT,), generator=trainer.generator(-1, common=True), device=trainer.device)
            rows = targets.rows(few[targets.rank :: targets.ranks][: LOOKED_AT // targets.ranks]).double()
            mean, square = (targets.gather(part.mean(dim=1)).mean() for part in (rows, rows.square()))
            self.centre.copy_(mean)
            self.spread.copy_((square - mean**2).sqrt().clamp_min(1e-6))

    def _noise_beside_labels(self, condition: Tensor | None, n: int, *, generator: torch.Generator) -> Tensor:
        noise = self.beginning(n, generator=generator)
        return self._coupled(noise, None if condition is None else random_rows(n, generator=generator, rows=condition))

    def _coupled(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        """(n, D), as the targets are scaled, with labels beside it: what is coupled to them."""
        return append_columns(noise.flatten(1) * self.spread + self.centre, None if condition is None else self._label_scale * condition)

    def _labels_of(self, trainer: Any) -> Tensor | None:
        """Those that the noise of this step is given."""
        if trainer.condition is None:
            return None
        return trainer.sample_noise(partial(random_rows, rows=trainer.condition), LABELS + trainer.step)

    def _drop_labels(self, index: Tensor, trainer: Any) -> Tensor | None:
        """What the network is told of the targets' labels: of some, by chance, nothing, which guidance needs to know too."""
        if trainer.condition is None:
            return None
        kept = trainer.sample_noise(_uniform, DROPPED + trainer.step) >= self.config.p_drop
        return _with_known_flag(trainer.condition[index]) * kept[:, None]


def _spread_out(t: Tensor, x: Tensor) -> Tensor:
    """Times (n,) in the number of axes of x (n, ...)."""
    return t.view(-1, *[1] * (x.ndim - 1))


def _with_known_flag(condition: Tensor) -> Tensor:
    """With a column that says so; all zeros stand for nothing known."""
    return torch.cat([condition, torch.ones_like(condition[:, :1])], dim=1)


def _uniform(n: int, *, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def _stratified_uniform(n: int, *, generator: torch.Generator) -> Tensor:
    # One in each of n equal intervals, in random order: less noise than n independent ones.
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (order + torch.rand(n, generator=generator, device=generator.device)) / n
