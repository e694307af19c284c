"""How good a frozen potential is, judged on fresh samples it was not fitted to."""

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
    """Of B samples, with p_j the chance of a hit and b_j the mass of target j:

    chi2: unbiased estimate of Σ p_j² / b_j - 1; 0 is perfect, benefits end near 0.05 (arXiv:2509.25519). tv: Σ |n_j / B - b_j| / 2.
    never_hit: targets without a hit. evenness: the least of n_j / b_j, of targets with a mass, over the largest. dual: E[min c - psi] + Σ b
    psi, at most the transport cost W. primal: cost of a plan that gives every target its mass; at least W but for sampling noise (nan if
    not asked for). chi2_interval, dual_interval, primal_interval: half widths at 95 %. hits: (N,) n_j. samples: B.
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
        """primal - dual: W lies between them."""
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
    """Certificate of psi (N,) on all batches of samples (B_k, D), at least three in all. weights: (N,) masses of the targets, uniform if
    not given. bound: find ``primal`` too, for which the samples that are too many for their target are kept. Where targets are shared out
    to ranks, each gives its own batches, equally many and long, and all get the same certificate, but for ``hits`` of the targets here.
    ValueError for fewer samples, or for a bound with targets shared out."""
    targets = targets if isinstance(targets, Targets) else Targets(targets)
    if bound and targets.group is not None:
        raise ValueError("bound=True: wanted targets that are all in one process, found them shared out to ranks")
    mass = torch.ones(len(targets), device=psi.device) if weights is None else weights
    mass = targets.merge(mass.double() / targets.sum(mass.double().sum()))
    parts = [(x if bound else None, *assign(x, targets, psi, cost)) for x in batches]
    if sum(len(part[1]) for part in parts) * targets.ranks < 3:
        raise ValueError("found fewer than three samples to certify a potential on, wanted three or more, better thousands")
    index, value = torch.cat([part[1] for part in parts]), torch.cat([part[2] for part in parts])
    hits, value = targets.hits(index), targets.gather(value).double()
    samples = len(value)
    chi2, chi2_interval = _chi2(hits.double(), mass, samples, targets)
    evenly = torch.where(mass > 0, hits / mass, torch.nan)
    ratio = targets.gather(torch.stack([evenly.nan_to_num(torch.inf).min(), -evenly.nan_to_num(0).max()])[None])
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
    """The U-statistic of the kernel 1[both samples hit j] / b_j, less 1, and its half width by Hoeffding's decomposition (1948): variance
    4 ζ1 / B + 2 ζ2 / B², whose moments of p_j are estimated by falling factorials of the hits."""

    def moment(power: int, over: int) -> float:
        falling, scale = torch.ones_like(hits), 1.0
        for k in range(power):
            falling, scale = falling * (hits - k).clamp_min(0), scale * (samples - k)
        # A target without mass that is never hit is as it should be.
        return float(targets.sum(torch.where(falling == 0, 0, falling / mass**over).sum())) / scale

    both = moment(2, 1)
    first, second = moment(3, 2) - both**2, moment(2, 2) - both**2
    variance = 4 * max(first, 0.0) / samples + 2 * max(second, 0.0) / samples**2
    return both - 1, NORMAL * math.sqrt(variance)
