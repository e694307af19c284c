"""Stochastic ascent of the semi-dual: the potential, its steps and its average."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pgen.ot.assign import assign
from pgen.ot.soft import soft_frequency
from pgen.ot.start import first_potential
from pgen.ot.targets import Targets

Method = Literal["sgd", "adam"]
Averaging = Literal["polynomial", "tail", "ema"]


class DualAscent(nn.Module):
    """Ascends D(psi) = E_x[min_j c(x, y_j) - psi_j] + sum_j b_j psi_j, whose gradient is b_j - P(hit = j) (arXiv:1906.03471).

    Steps are in the unit that :func:`pgen.ot.start.mean_cost` finds. Step t of a solve has the rate ``rate / (1 + t / slow)``, times
    sqrt(N B) for ``sgd``, B being the solve's first batch: the noise of the hits then moves a potential by one rate, whatever N and B, and
    by less in larger batches. psi stays free of mean, which changes no assignment. ``state_dict`` resumes bit for bit.

    count: targets here, N. cost: l1, l2 or sqeuclidean. weights: (N,) masses b of the targets, uniform if not given, normalised over all
    ranks. averaging: of psi over a solve: ``polynomial`` (weights grow as t², arXiv:1212.1824), ``tail`` (the last half to three quarters
    of the steps), ``ema`` (0.99). epsilon: entropic smoothing of step t by epsilon / (1 + t / slow)^(1/3) units (after Genans et al.,
    "Decreasing Entropic Regularization Averaged Gradient", NeurIPS 2025); 0 assigns hard, which is what the fast kernels do.
    """

    psi: Tensor
    average: Tensor
    weights: Tensor
    momentum: Tensor
    square: Tensor
    tail: Tensor

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
        self.cost, self.method, self.rate, self.slow = cost, method, rate, slow
        self.decay, self.averaging, self.epsilon = momentum, averaging, epsilon
        self.register_buffer("weights", torch.ones(count) if weights is None else weights.detach().clone())
        for name in ("psi", "average", "momentum", "square", "tail"):
            self.register_buffer(name, torch.zeros(count, dtype=self.weights.dtype))
        # Plain numbers: a step on a GPU need not wait to learn them.
        self.steps, self.unit, self.batch = 0, 0.0, 0

    @torch.no_grad()
    def begin(self, x: Tensor, targets: Targets) -> None:
        """Begin a solve for samples like x (B, D): from the average of the last one or from the mean cost, whichever has more dual."""
        mass = self.mass(targets)
        psi, unit = first_potential(x, targets, self.cost, mass, self.average)
        self.unit = unit
        self.psi.copy_(psi - targets.sum(psi.double().sum()) / targets.total)
        self.average.copy_(self.psi)
        self.steps, self.batch = 0, len(x) * targets.ranks
        for state in (self.momentum, self.square, self.tail):
            state.zero_()

    @torch.no_grad()
    def go_on(self, psi: Tensor, steps: int, unit: float) -> None:
        """Go on as if ``steps`` steps had led to psi (N,) as their average, in steps of another unit if that is smaller."""
        self.psi.copy_(psi)
        self.average.copy_(psi)
        self.steps, self.unit = steps, min(unit, self.unit)

    @torch.no_grad()
    def step(self, x: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """One step on x (B, D); index and value (B,) of the hard assignment it saw."""
        mass, samples, t = self.mass(targets), len(x) * targets.ranks, self.steps
        index, value = assign(x, targets, self.psi, self.cost)
        if self.epsilon:
            width = self.epsilon * self.unit / (1 + t / self.slow) ** (1 / 3)
            frequency = soft_frequency(x, targets, self.psi, self.cost, mass, width)
        else:
            frequency = targets.hits(index) / samples
        self._ascend((mass - frequency).to(self.psi.dtype), targets)
        return index, value

    def _ascend(self, gradient: Tensor, targets: Targets) -> None:
        t = self.steps
        rate = self.rate * self.unit / (1 + t / self.slow)
        # Bias-corrected, as Adam's moments are (arXiv:1412.6980).
        self.momentum.lerp_(gradient, 1 - self.decay)
        direction = self.momentum / (1 - self.decay ** (t + 1))
        if self.method == "adam":
            self.square.lerp_(gradient.square(), 0.01)
            self.psi += rate * direction / ((self.square / (1 - 0.99 ** (t + 1))).sqrt() + 1e-12)
        else:
            self.psi += rate * (targets.total * self.batch) ** 0.5 * direction
        self.psi -= (targets.sum(self.psi.double().sum()) / targets.total).to(self.psi.dtype)
        self.steps += 1
        self._average(t)

    def _average(self, t: int) -> None:
        if self.averaging == "polynomial":
            self.average.lerp_(self.psi, 3 / (t + 3))
        elif self.averaging == "ema":
            self.average.lerp_(self.psi, 0.01)
        else:
            begun = 1 << t.bit_length() >> 1
            if t == begun:
                self.average.copy_(self.tail)
            self.tail.lerp_(self.psi, 1 / (t - begun + 1))
            self.average.lerp_(self.psi, 1 / (t - begun // 2 + 1))

    def mass(self, targets: Targets) -> Tensor:
        """(N,) masses of the targets here, of which those of all ranks sum to one; float64."""
        return self.weights.double() / targets.sum(self.weights.double().sum())

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.steps, self.unit, self.batch], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps, self.unit, self.batch = int(state[0]), float(state[1]), int(state[2])
