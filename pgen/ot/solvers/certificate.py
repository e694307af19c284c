"""Certify a fixed potential on fresh samples that it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pgen.ot.assignment.assign import assign
from pgen.ot.solvers.plan_rounding import rounded_plan_cost
from pgen.ot.targets import Targets

#: Half width of a 95 % interval, in standard errors.
NORMAL = 1.96


@dataclass(frozen=True)
class Certificate:
    """How evenly a potential assigns B samples, and the bounds on the transport cost W.

    p_j is the probability of a hit, n_j the number of hits, and b_j the mass of target j.

    Attributes: chi2: Unbiased estimate of Σ p_j² / b_j - 1. 0 is perfect; below 0.05 there is
        little to gain
            (arXiv:2509.25519).
        chi2_interval: Half width of its 95 % interval.
        tv: Total variation, Σ |n_j / B - b_j| / 2.
        never_hit: The number of targets without a hit.
        evenness: The smallest n_j / b_j over the largest, of targets that have a mass.
        dual: E[min c - psi] + Σ b psi, at most W.
        dual_interval: Half width of its 95 % interval.
        primal: Cost of a plan that gives every target its mass, at least W but for sampling noise;
            nan if not computed.
        primal_interval: Half width of its 95 % interval.
        hits: (N,) n_j.
        samples: B.
    """

    chi2: float
    chi2_interval: float
    tv: float
    never_hit: int
    evenness: float
    dual: float
    dual_interval: float
    primal: float
    primal_interval: float
    hits: Tensor
    samples: int

    @property
    def gap(self) -> float:
        """The gap primal - dual, between which W lies."""
        return self.primal - self.dual


@torch.no_grad()
def certify(
    batches: Iterable[Tensor],
    targets: Tensor | Targets,
    psi: Tensor,
    cost: str,
    weights: Tensor | None = None,
    *,
    bound: bool = False,
) -> Certificate:
    """Certify a potential on samples.

    With targets on several ranks, each rank passes its own batches, equal in number and length, and
    all get the same certificate, except for ``hits``, which are those of the local targets.

    Args:
        batches: Samples (B_k, D), at least three in all.
        targets: (N, D).
        psi: (N,) potential.
        cost: l1, l2 or sqeuclidean.
        weights: (N,) masses of the targets; uniform if None.
        bound: Also compute ``primal``, for which all samples are kept in memory.

    Raises:
        ValueError: Fewer than three samples, or ``bound`` with targets on several ranks.
    """
    targets = targets if isinstance(targets, Targets) else Targets(targets)
    if bound and targets.group is not None:
        raise ValueError("bound=True needs all targets in one process, but they are shared by several ranks")
    mass = torch.ones(len(targets), device=psi.device) if weights is None else weights
    mass = targets.merge(mass.double() / targets.sum(mass.double().sum()))
    parts = [(x if bound else None, *assign(x, targets, psi, cost)) for x in batches]
    if sum(len(part[1]) for part in parts) * targets.ranks < 3:
        raise ValueError("a certificate needs three samples or more, better thousands")
    index, value = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
    hits, value = targets.hits(index), targets.gather(value).double()
    samples = len(value)
    chi2, chi2_interval = _chi2(hits.double(), mass, samples, targets)
    hits_per_mass = torch.where(mass > 0, hits / mass, torch.nan)
    ratio = targets.gather(torch.stack([hits_per_mass.nan_to_num(torch.inf).min(), -hits_per_mass.nan_to_num(0).max()])[None])
    primal, primal_interval = math.nan, math.nan
    if bound:
        paid = rounded_plan_cost(torch.cat([part[0] for part in parts]), index, targets, psi, cost, mass)  # type: ignore[misc]
        primal, primal_interval = float(paid.mean()), NORMAL * float(paid.std()) / math.sqrt(len(paid))
    return Certificate(
        chi2=chi2,
        chi2_interval=chi2_interval,
        tv=0.5 * float(targets.sum((hits / samples - mass).abs().sum())),
        never_hit=int(targets.sum(((hits == 0) & (mass > 0)).sum())),
        evenness=float(ratio[:, 0].min() / -ratio[:, 1].min()),
        dual=float(value.mean() + targets.sum((psi.double() * mass).sum())),
        dual_interval=NORMAL * float(value.std()) / math.sqrt(samples),
        primal=primal,
        primal_interval=primal_interval,
        hits=hits,
        samples=samples,
    )


def _chi2(hits: Tensor, mass: Tensor, samples: int, targets: Targets) -> tuple[float, float]:
    """Estimate chi2, and the half width of its 95 % interval.

    It is the U-statistic of the kernel 1[both samples hit j] / b_j, minus 1. By Hoeffding's
    decomposition (1948) its variance is 4 ζ1 / B + 2 ζ2 / B²; the moments of p_j in it are
    estimated by falling factorials of the hits.
    """

    def moment(power: int, over: int) -> float:
        falling, scale = torch.ones_like(hits), 1.0
        for k in range(power):
            falling, scale = falling * (hits - k).clamp_min(0), scale * (samples - k)
        # A target without mass that is never hit counts as perfect.
        return float(targets.sum(torch.where(falling == 0, 0, falling / mass**over).sum())) / scale

    both = moment(2, 1)
    first, second = moment(3, 2) - both**2, moment(2, 2) - both**2
    variance = 4 * max(first, 0.0) / samples + 2 * max(second, 0.0) / samples**2
    return both - 1, NORMAL * math.sqrt(variance)
