"""Flow matching (Lipman et al. 2023, arXiv:2210.02747): dx/dt = v(x, t) carries noise to samples.

The network v learns the mean velocity x1 - x0 of straight paths from noise x0 to targets x1, at the
points (1 - t) x0 + t x1, t from 0 to 1. The coupling of noise and targets decides how much these
paths cross, and so how curved the flow is. With optimal transport, within a batch
(arXiv:2302.00482) or semi-discrete from noise to all targets (arXiv:2509.25519), it is straighter,
and fewer steps integrate it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pgen.errors import ConfigError, option
from pgen.models.flow.config import FlowConfig
from pgen.models.flow.coupling import COST, Coupling
from pgen.models.flow.networks import make_velocity
from pgen.models.flow.ode import integrate, integrate_with_noise
from pgen.models.flow.time_schedule import TimeSchedule
from pgen.models.nn import append_columns, make_optimizer, standardising_norm
from pgen.models.transport import log_merged_targets, random_rows, with_labels
from pgen.ot import Targets
from pgen.plugins.protocols import Trainer
from pgen.plugins.specs import DataInfo

#: Targets, on all ranks together, from which the scale of images is estimated.
SCALE_SAMPLES = 1024
#: Samples on which mean and variance are measured, and the batch size.
MOMENT_SAMPLES, MOMENT_BATCH = 2048, 256
#: Solvers in the order of their numbers in a model's state.
SOLVERS = get_args(FlowConfig.model_fields["solver"].annotation)
#: Values of the coupling's certificate that are logged.
CERTIFIED = ("chi2", "never_hit")
#: Step numbers that no run reaches, whose generators draw what a step needs besides its noise.
TIME_STEPS, LABEL_STEPS, DROP_STEPS = 10**15, 3 * 10**15, 4 * 10**15


class Flow(nn.Module):
    """Generates latent codes, or images in model space, from noise.

    Images are shifted and scaled to mean 0 and variance 1 over all pixels, the scale of the noise;
    codes are standardised already. For codes the mean and variance of samples are measured and
    matched to those of the targets. They belong to one sampler, since other steps lead to other
    moments. With conditions, noise gets the labels of a random target, and is coupled together with
    these (:mod:`pgen.models.transport`).

    Attributes:
        per_target: State with a row per target, which ranks share as they share the targets.
        centre: Mean of all pixels of the targets.
        spread: Standard deviation of all pixels of the targets.
        measured: The sampler of the measured moments: solver, steps and guidance; zeros before.
        seen: Targets seen in training.
        count: Targets on all ranks.
        certified: The coupling's certificate.
    """

    per_target = ("coupling.psi",)

    centre: Tensor
    spread: Tensor
    measured: Tensor

    def __init__(self, config: FlowConfig, data: DataInfo) -> None:
        super().__init__()
        if config.solver == "sde" and config.coupling != "independent":
            raise ConfigError(
                f"{option('solver', 'sde')} requires {option('coupling', 'independent')}, got {option('coupling', config.coupling)}; "
                f"train with that, or sample with {option('solver', 'heun')}."
            )
        self.config, self.data = config, data
        self.velocity = make_velocity(config, data)
        self.coupling = Coupling(config.coupling, data.count, config.chi2)
        self.moments = standardising_norm(data.map_shape or data.shape) if data.kind == "codes" else nn.Identity()
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        # Zeros, so that moments are measured, also where an earlier version wrote the state.
        self.register_buffer("measured", torch.zeros(3, dtype=torch.float64))
        self.register_load_state_dict_pre_hook(lambda module, state, prefix, *_: state.setdefault(f"{prefix}measured", torch.zeros(3)))
        # Python numbers, so that a step need not wait for a GPU.
        self.seen, self.count = 0, 0
        self.certified: dict[str, float] = {}
        self._batch: Tensor | None = None  # from which the targets were made
        self._targets: Targets | None = None
        self._label_scale = 0.0

    @property
    def times(self) -> TimeSchedule:
        """The time schedule for these targets."""
        return TimeSchedule.from_targets(self.count, self.data.size)

    @property
    def epoch(self) -> float:
        """Targets seen over the number of targets."""
        return self.seen / max(1, self.count)

    def get_extra_state(self) -> Tensor:
        """Return the counters and the certificate."""
        return torch.tensor([self.seen, self.count, *self.certified.values()], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the counters and the certificate."""
        seen, count, *certified = state.tolist()
        self.seen, self.count = int(seen), int(count)
        self.certified = dict(zip(CERTIFIED, certified, strict=False))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Create the optimiser of the velocity network."""
        c = self.config
        return {"velocity": make_optimizer(c.opt, self.velocity.parameters(), c.lr, c.beta)}

    @property
    def steps(self) -> int:
        """Integration steps of a sample."""
        return self.config.n_steps or (32 if self.config.solver == "sde" else 16)

    @torch.no_grad()
    def prepare_sampling(self, *, generator: torch.Generator, conditions: Tensor | None, log: Callable[[str], None]) -> None:
        """Measure mean and variance of samples, which are matched to those of the targets.

        A network too smooth to distinguish neighbouring targets leads to their middle, where there
        is none, and so to a smaller variance; and few steps end short of the targets.
        """
        guidance = self.config.guidance if self.data.conditions else 1.0
        sampler = [SOLVERS.index(self.config.solver), self.steps, guidance]
        if self.data.kind != "codes" or not self.config.match_moments or self.measured.tolist() == sampler:
            return
        log(f"measuring mean and spread of {MOMENT_SAMPLES:,} samples by {self.steps} steps of {self.config.solver}")
        samples = []
        for _ in range(0, MOMENT_SAMPLES, MOMENT_BATCH):
            noise = self.noise(MOMENT_BATCH, generator=generator)
            labels = None if conditions is None else random_rows(MOMENT_BATCH, generator=generator, rows=conditions)
            samples.append(self._integrate(noise, labels))
        (norm,) = (module for module in self.moments.modules() if isinstance(module, _BatchNorm))
        norm.reset_running_stats()
        norm.momentum = 1.0  # these samples only
        self.moments.train()(torch.cat(samples))
        self.moments.eval()
        self.measured.copy_(torch.tensor(sampler))

    def noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw all noise of n samples: (n, *shape), or (n, steps, *shape) with the solver sde."""
        if self.config.solver != "sde":
            return self._initial_noise(n, generator=generator)
        return torch.randn(n, self.steps, *self.data.shape, generator=generator, device=generator.device)

    def _initial_noise(self, n: int, *, generator: torch.Generator) -> Tensor:
        return torch.randn(n, *self.data.shape, generator=generator, device=generator.device)

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate samples from noise and labels (n, K)."""
        x = self._integrate(noise, condition)
        if self.data.kind == "images":
            return (x * self.spread + self.centre).clamp(-1 if self.data.signed else 0, 1)
        return self.moments(x) if self.config.match_moments else x

    def sample(self, n: int, *, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """Draw n samples."""
        return self(self.noise(n, generator=generator), condition)

    def _integrate(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        velocity = self._velocity if condition is None else partial(self._guided_velocity, condition)
        times = self.times.step_bounds(self.steps)
        if self.config.solver == "sde":
            return integrate_with_noise(velocity, noise, times)
        return integrate(velocity, noise, times, self.config.solver)

    def _velocity(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the velocity: the network's output plus the velocity of a normal distribution.

        The latter is 0 with transport couplings.
        """
        velocity = self.velocity(x, t, labels)
        if self.config.coupling != "independent":
            return velocity
        at = _expand_times(t, x)
        return velocity + (2 * at - 1) / (at.square() + (1 - at).square()) * x

    def _guided_velocity(self, condition: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """Compute the velocity with classifier-free guidance (arXiv:2207.12598)."""
        conditional = self._velocity(x, t, _with_known_flag(condition))
        if self.config.guidance == 1:
            return conditional
        unconditional = self._velocity(x, t, 0 * _with_known_flag(condition))
        return unconditional + self.config.guidance * (conditional - unconditional)

    def training_step(self, batch: Tensor, trainer: Trainer) -> dict[str, Tensor]:
        """Regress the velocity at random times on the paths of a batch of noise."""
        if batch is not self._batch:
            self._batch = batch
            self._prepare(batch if batch.layout == torch.sparse_csr else batch.flatten(1), trainer)
        assert self._targets is not None
        x0 = trainer.sample_noise(self._initial_noise)
        index = self.coupling.targets_of(self._to_target_space(x0, self._draw_labels(trainer)), self._targets, trainer)
        x1 = (self._targets.rows(index)[:, : self.data.size].view_as(x0) - self.centre) / self.spread
        t = self.times(trainer.sample_noise(_stratified_uniform, TIME_STEPS + trainer.step))
        at = _expand_times(t, x0)
        loss = (self._velocity((1 - at) * x0 + at * x1, t, self._drop_labels(index, trainer)) - (x1 - x0)).square().mean()
        trainer.update("velocity", loss)
        self.measured.zero_()
        self.seen += trainer.batch_size
        return {"loss": loss, **{name: torch.tensor(value) for name, value in self.certified.items()}}

    @torch.no_grad()
    def _prepare(self, values: Tensor, trainer: Trainer) -> None:
        """Prepare the targets; in the first step, also the scale of images and the coupling."""
        if not trainer.shuffle:
            raise trainer.error(ConfigError(f"{option('no_shuffle')}: flow draws its targets at random; leave it out."))
        targets, condition = Targets(values, trainer.group), trainer.condition
        if self.seen == 0:
            self._estimate_scale(targets, trainer)
        if condition is not None:
            weight, generator = self.config.label_weight, trainer.generator(-4, common=True)
            targets, self._label_scale = with_labels(targets, values, condition, weight, COST, generator)
        self._targets = targets
        if self.seen == 0:
            self.count = targets.total
            if self.config.coupling == "semidiscrete":
                log_merged_targets(targets, trainer.log)
            certificate = self.coupling.begin(targets, partial(self._draw_coupled_noise, condition), trainer)
            if certificate is not None:
                self.certified = dict(zip(CERTIFIED, (certificate.chi2, float(certificate.never_hit)), strict=True))

    def _estimate_scale(self, targets: Targets, trainer: Trainer) -> None:
        if self.data.kind == "images":
            generator = trainer.generator(-1, common=True)
            index = torch.randint(targets.total, (SCALE_SAMPLES,), generator=generator, device=trainer.device)
            rows = targets.rows(index[targets.rank :: targets.ranks][: SCALE_SAMPLES // targets.ranks]).double()
            mean, square = (targets.gather(part.mean(dim=1)).mean() for part in (rows, rows.square()))
            self.centre.copy_(mean)
            self.spread.copy_((square - mean**2).sqrt().clamp_min(1e-6))

    def _draw_coupled_noise(self, condition: Tensor | None, n: int, /, *, generator: torch.Generator) -> Tensor:
        noise = self._initial_noise(n, generator=generator)
        return self._to_target_space(noise, None if condition is None else random_rows(n, generator=generator, rows=condition))

    def _to_target_space(self, noise: Tensor, condition: Tensor | None) -> Tensor:
        """Scale noise as the targets are, and append scaled labels: (n, D) or (n, D + K)."""
        return append_columns(noise.flatten(1) * self.spread + self.centre, None if condition is None else self._label_scale * condition)

    def _draw_labels(self, trainer: Trainer) -> Tensor | None:
        """Draw labels for the noise of this step."""
        if trainer.condition is None:
            return None
        return trainer.sample_noise(partial(random_rows, rows=trainer.condition), LABEL_STEPS + trainer.step)

    def _drop_labels(self, index: Tensor, trainer: Trainer) -> Tensor | None:
        """Return the targets' label features, some zeroed: guidance needs v without labels."""
        if trainer.condition is None:
            return None
        is_kept = trainer.sample_noise(_uniform, DROP_STEPS + trainer.step) >= self.config.p_drop
        return _with_known_flag(trainer.condition[index]) * is_kept[:, None]


def _expand_times(t: Tensor, x: Tensor) -> Tensor:
    """Give times (n,) as many axes as x (n, ...) has."""
    return t.view(-1, *[1] * (x.ndim - 1))


def _with_known_flag(condition: Tensor) -> Tensor:
    """Append a column of ones: labels are known. All zeros mean unknown labels."""
    return torch.cat([condition, torch.ones_like(condition[:, :1])], dim=1)


def _uniform(n: int, *, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def _stratified_uniform(n: int, *, generator: torch.Generator) -> Tensor:
    # One in each of n equal intervals, in random order: less noise than n independent ones.
    order = torch.randperm(n, generator=generator, device=generator.device)
    return (order + torch.rand(n, generator=generator, device=generator.device)) / n
