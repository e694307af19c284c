"""Stochastic ascent of the semi-dual: the potential, its steps and its average."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pgen.ot.assignment.assign import assign
from pgen.ot.costs import check_cost
from pgen.ot.solvers.entropic import soft_frequency
from pgen.ot.solvers.heavy_targets import weigh
from pgen.ot.solvers.initialisation import first_potential
from pgen.ot.targets import Targets

Method = Literal["sgd", "adam"]
Averaging = Literal["polynomial", "tail", "ema"]


class DualAscent(nn.Module):
    """Ascends D(psi) = E_x[min_j c(x, y_j) - psi_j] + sum_j b_j psi_j, whose gradient is b_j - P(hit = j) (arXiv:1906.03471).

    Steps are in the unit that :func:`pgen.ot.solvers.initialisation.mean_cost` finds. Step t of a solve has the rate ``rate / (1 + t / slow)``, times
    sqrt(N B) for ``sgd``, B being the solve's first batch: the noise of the hits then moves a potential by one rate, whatever N and B, and
    by less in larger batches. For the same reason it is divided by sqrt(m) for a target of m > 1 times the mean mass. psi stays free of
    mean, which changes no assignment. ``state_dict`` resumes bit for bit.

    count: targets here, N. cost: l1, l2 or sqeuclidean. weights: (N,) masses b of the targets, 0 or more, uniform if not given, normalised
    over all ranks; the potential has their type, which is to be that of the targets. averaging: of psi over a solve: ``polynomial``
    (weights grow as t², arXiv:1212.1824), ``tail`` (the last half to three quarters of the steps), ``ema`` (0.99). epsilon: entropic
    smoothing of step t by epsilon / (1 + t / slow)^(1/3) units (after Genans et al., "Decreasing Entropic Regularization Averaged
    Gradient", NeurIPS 2025); 0 assigns hard, which is what the fast kernels do. ValueError for an option out of its range.
    """

    psi: Tensor
    average: Tensor
    weights: Tensor
    momentum: Tensor
    square: Tensor
    tail: Tensor
    schedule: Tensor

    def __init__(
        self,
        count: int,
        cost: str = "l1",
        *,
        weights: Tensor | None = None,
        method: Method = "sgd",
        rate: float = 0.2,
        slow: float = 20.0,
        momentum: float = 0.5,
        averaging: Averaging = "polynomial",
        epsilon: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, known in (("method", method, Method), ("averaging", averaging, Averaging)):
            if value not in get_args(known):
                raise ValueError(f"{name} {value!r}: wanted one of {', '.join(get_args(known))}")
        check_cost(cost)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum {momentum}: wanted 0 or more, and less than 1")
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights).detach().clone()
        if weights.shape != (count,) or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError(f"weights of shape {tuple(weights.shape)}, the least {weights.min():g}: wanted ({count},), finite, 0 or more")
        self.cost, self.method, self.rate, self.slow = cost, method, rate, slow
        self.decay, self.averaging, self.epsilon = momentum, averaging, epsilon
        self.register_buffer("weights", weights if weights.is_floating_point() else weights.float())
        for name in ("psi", "average", "momentum", "square", "tail"):
            self.register_buffer(name, torch.zeros(count, dtype=self.weights.dtype))
        # Plain numbers: a step on a GPU need not wait to learn them. What they are to the step at hand, it reads in its own memory.
        self.steps, self.unit, self.batch = 0, 0.0, 0
        self.register_buffer("schedule", torch.zeros(6, dtype=self.weights.dtype), persistent=False)

    @torch.no_grad()
    def begin(self, x: Tensor, targets: Targets) -> None:
        """Begin a solve for samples like x (B, D), two or more where there are several targets: from the average of the last one or from
        the mean cost, whichever has more dual."""
        if len(x) * targets.ranks < 2 <= targets.total:
            raise ValueError("found one sample to begin a solve with, wanted two or more: the unit of its steps is how they differ")
        mass = self.mass(targets)
        psi, unit = first_potential(x, targets, self.cost, mass, targets.spread(self.average))
        psi = weigh(x, targets, psi, self.cost, mass)
        self.unit = unit
        self.psi.copy_(psi - targets.sum(psi.double().sum()) / targets.total)
        self.average.copy_(self.psi)
        self.steps, self.batch = 0, len(x) * targets.ranks
        for state in (self.momentum, self.square, self.tail):
            state.zero_()

    @torch.no_grad()
    def warm_start(self, psi: Tensor, steps: int, unit: float) -> None:
        """Go on as if ``steps`` steps had led to psi (N,) as their average, in steps of another unit if that is smaller, and not none."""
        self.psi.copy_(psi)
        self.average.copy_(psi)
        self.steps, self.unit = steps, min(unit or self.unit, self.unit)

    @torch.no_grad()
    def step(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """One step on x (B, D); index and value (B,) of the hard assignment it saw."""
        self.plan(targets)
        return self.move(x, targets)

    def plan(self, targets: Targets) -> None:
        """The first half of :meth:`step`, the host's: count it, and write down what depends on its number."""
        if not self.batch:
            raise RuntimeError("no solve has begun: call begin first, with samples like those of the steps")
        t = self.steps
        pace = self.rate * self.unit / (1 + t / self.slow)
        if self.method == "sgd":
            pace *= (targets.total * self.batch) ** 0.5
        # Both moments are corrected for their bias, as Adam's are (arXiv:1412.6980).
        pace, spread = pace / (1 - self.decay ** (t + 1)), 1 / (1 - 0.99 ** (t + 1))
        begun = 1 << t.bit_length() >> 1
        newest = {"polynomial": 3 / (t + 3), "ema": 0.01, "tail": 1 / (t - begun // 2 + 1)}[self.averaging]
        width = self.epsilon * self.unit / (1 + t / self.slow) ** (1 / 3)
        numbers = torch.tensor([pace, spread, t == begun, 1 / (t - begun + 1), newest, width], dtype=self.schedule.dtype)
        self.schedule.copy_(numbers, non_blocking=True)
        self.steps += 1

    @torch.no_grad()
    def move(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """The second half, the device's: the same work on the same memory each time, as :class:`pgen.ot.solvers.cuda_graph.Replayed` needs."""
        pace, spread, restart, newest_of_tail, newest, width = self.schedule
        mass = self.mass(targets)
        index, value = assign(x, targets, self.psi, self.cost)
        if self.epsilon:
            frequency = soft_frequency(x, targets, self.psi, self.cost, mass, width)
        else:
            frequency = targets.hits(index) / (len(x) * targets.ranks)
        # A hit of a heavy target is one of many: by its own noise its potential would move by more than one rate.
        heavy = (targets.total * mass).clamp_min(1) if self.method == "sgd" else 1
        gradient = targets.spread((mass - frequency) / heavy**0.5).to(self.psi.dtype)
        self.momentum.lerp_(gradient, 1 - self.decay)
        if self.method == "adam":
            self.square.lerp_(gradient.square(), 0.01)
            self.psi += pace * self.momentum / ((spread * self.square).sqrt() + 1e-12)
        else:
            self.psi += pace * self.momentum
        self.psi -= (targets.sum(self.psi.double().sum()) / targets.total).to(self.psi.dtype)
        if self.averaging == "tail":
            self.average.lerp_(self.tail, restart)
            self.tail.lerp_(self.psi, newest_of_tail)
        self.average.lerp_(self.psi, newest)
        return index, value

    def mass(self, targets: Targets) -> Tensor:
        """(N,) masses of the targets here, of which those of all ranks sum to one, the first of equal ones having that of all; float64."""
        return targets.merge(self.weights.double() / targets.sum(self.weights.double().sum()))

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.steps, self.unit, self.batch], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps, self.unit, self.batch = int(state[0]), float(state[1]), int(state[2])
