"""Stochastic ascent of the semi-dual."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pgen.ot.assignment.assign import assign
from pgen.ot.costs import check_cost
from pgen.ot.solvers.entropic import soft_frequency
from pgen.ot.solvers.heavy_targets import solve_heavy_targets
from pgen.ot.solvers.initialisation import first_potential
from pgen.ot.targets import Targets

Method = Literal["sgd", "adam"]
Averaging = Literal["polynomial", "tail", "ema"]


class DualAscent(nn.Module):
    """Ascends D(psi) = E_x[min_j c(x, y_j) - psi_j] + Σ_j b_j psi_j (arXiv:1906.03471).

    The gradient is b_j - P(hit = j). Steps are in the unit that
    :func:`pgen.ot.solvers.initialisation.mean_cost` measures. Step t of a solve has the rate ``rate
    / (1 + t / slow)``, times sqrt(N B) for ``sgd``, where B is the solve's first batch: the noise
    of the hits then moves a potential by one rate, whatever N and B, and by less in larger batches.
    For the same reason it is divided by sqrt(m) for a target of m > 1 times the mean mass. The mean
    of psi, which changes no assignment, is kept at 0. ``state_dict`` resumes bit for bit.

    Attributes:
        psi: (N,) the potential.
        average: (N,) its average over the steps of the solve, which is the result.
        steps: Steps done in this solve.
        unit: The unit of the steps, in units of the cost.
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
        """Set the options.

        Args:
            count: N, the number of targets on this rank.
            cost: l1, l2 or sqeuclidean.
            weights: (N,) masses b of the targets, 0 or more, normalised over all ranks; uniform if
                None. The potential has their type, which should be that of the targets.
            method: ``sgd`` or ``adam``.
            rate: Learning rate of the first step.
            slow: Steps after which the rate has halved.
            momentum: Weight of the previous gradients.
            averaging: Of psi over a solve: ``polynomial`` (weights grow as t², arXiv:1212.1824),
                ``tail`` (the last half to three quarters of the steps) or ``ema`` (0.99).
            epsilon: Entropic smoothing of step t by epsilon / (1 + t / slow)^(1/3) units (after
                Genans et al., "Decreasing Entropic Regularization Averaged Gradient", NeurIPS
                2025); 0 assigns hard, which is what the fast kernels do.

        Raises:
            ValueError: An option out of its range.
        """
        super().__init__()
        for name, value, choices in (("method", method, Method), ("averaging", averaging, Averaging)):
            if value not in get_args(choices):
                raise ValueError(f"expected {name} to be one of {', '.join(get_args(choices))}, got {value!r}")
        check_cost(cost)
        if not 0 <= momentum < 1:
            raise ValueError(f"expected momentum to be 0 or more and below 1, got {momentum}")
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights).detach().clone()
        if weights.shape != (count,) or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError(
                f"expected weights ({count},), finite and 0 or more, got {tuple(weights.shape)} with minimum {weights.min():g}"
            )
        self.cost, self.method, self.rate, self.slow = cost, method, rate, slow
        self.decay, self.averaging, self.epsilon = momentum, averaging, epsilon
        self.register_buffer("weights", weights if weights.is_floating_point() else weights.float())
        for name in ("psi", "average", "momentum", "square", "tail"):
            self.register_buffer(name, torch.zeros(count, dtype=self.weights.dtype))
        # Python numbers, so that a step need not wait for a GPU. A step on the device reads what
        # follows from them in `schedule`.
        self.steps, self.unit, self.batch = 0, 0.0, 0
        self.register_buffer("schedule", torch.zeros(6, dtype=self.weights.dtype), persistent=False)

    @torch.no_grad()
    def begin(self, x: Tensor, targets: Targets) -> None:
        """Begin a solve, from the last average or from the mean cost, whichever has more dual.

        Args:
            x: (B, D) samples like those of the solve, two or more if there are several targets.
            targets: The targets.
        """
        if len(x) * targets.ranks < 2 <= targets.total:
            raise ValueError("a solve needs two or more samples to begin with, since the unit of its steps is how they differ")
        mass = self.mass(targets)
        psi, unit = first_potential(x, targets, self.cost, mass, targets.spread(self.average))
        psi = solve_heavy_targets(x, targets, psi, self.cost, mass)
        self.unit = unit
        self.psi.copy_(psi - targets.sum(psi.double().sum()) / targets.total)
        self.average.copy_(self.psi)
        self.steps, self.batch = 0, len(x) * targets.ranks
        for state in (self.momentum, self.square, self.tail):
            state.zero_()

    @torch.no_grad()
    def warm_start(self, psi: Tensor, steps: int, unit: float) -> None:
        """Continue from a potential that another method found.

        Args:
            psi: (N,) the potential, also taken as the average.
            steps: Steps that count as done.
            unit: The unit of the next steps, if it is smaller than the current one and not 0.
        """
        self.psi.copy_(psi)
        self.average.copy_(psi)
        self.steps, self.unit = steps, min(unit or self.unit, self.unit)

    @torch.no_grad()
    def step(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Do one step on samples x (B, D).

        Returns:
            index, value: (B,) each, the assignment of x before the step.
        """
        self.host_step(targets)
        return self.device_step(x, targets)

    def host_step(self, targets: Targets) -> None:
        """Count the step and write down what depends on its number: :meth:`step` on the host."""
        if not self.batch:
            raise RuntimeError("call begin first, with samples like those of the steps")
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
    def device_step(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Move the potential: :meth:`step` on the device.

        It does the same work on the same memory each time, as
        :class:`pgen.ot.solvers.cuda_graph.GraphedFunction` needs.

        Returns:
            index, value: (B,) each, the assignment of x before the step.
        """
        pace, spread, restart, newest_of_tail, newest, width = self.schedule
        mass = self.mass(targets)
        index, value = assign(x, targets, self.psi, self.cost)
        if self.epsilon:
            frequency = soft_frequency(x, targets, self.psi, self.cost, mass, width)
        else:
            frequency = targets.hits(index) / (len(x) * targets.ranks)
        # A hit of a heavy target is one of many: its noise would move its potential by more than
        # one rate.
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
        """Return the masses (N,) of the local targets in double precision.

        They sum to one over all ranks; the first of equal targets has the mass of all of them.
        """
        return targets.merge(self.weights.double() / targets.sum(self.weights.double().sum()))

    def get_extra_state(self) -> Tensor:
        """Return the counters that a resumed solve needs."""
        return torch.tensor([self.steps, self.unit, self.batch], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the counters."""
        self.steps, self.unit, self.batch = int(state[0]), float(state[1]), int(state[2])
