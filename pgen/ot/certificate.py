"""How good a frozen potential is, judged on fresh samples it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pgen.ot.assign import assign
from pgen.ot.targets import Targets


@dataclass(frozen=True)
class Certificate:
    """chi2: unbiased χ² of the hit marginal against uniform, N Σ n_j (n_j - 1) / (B (B - 1)) - 1; 0 is perfect, about 0.05 good.

    tv: total variation of the same. never_hit: targets without a hit. wasserstein: value of the dual, interval: its 95 % half width.
    hits: (N,) counts. samples: B.
    """

    chi2: float
    tv: float
    never_hit: int
    wasserstein: float
    interval: float
    hits: Tensor
    samples: int


@torch.no_grad()
def certify(batches: Iterable[Tensor], targets: Tensor | Targets, psi: Tensor, cost: str) -> Certificate:
    """Certificate of psi (N,) on all batches of samples (B_k, D), at least two samples in all."""
    targets = targets if isinstance(targets, Targets) else Targets(targets)
    count = len(targets)
    hits = torch.zeros(count, dtype=torch.long, device=targets.device)
    values = []
    for x in batches:
        index, value = assign(x, targets, psi, cost)
        hits += torch.bincount(index, minlength=count).to(hits.device)
        values.append(value.double())
    value = torch.cat(values)
    n, samples = hits.double(), len(value)
    chi2 = count * float((n * (n - 1)).sum()) / (samples * (samples - 1)) - 1
    return Certificate(
        chi2=chi2,
        tv=0.5 * float((n / samples - 1 / count).abs().sum()),
        never_hit=int((hits == 0).sum()),
        wasserstein=float(value.mean() + psi.double().mean()),
        interval=1.96 * float(value.std()) / math.sqrt(samples),
        hits=hits,
        samples=samples,
    )
