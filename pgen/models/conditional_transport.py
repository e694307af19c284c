"""Transport that minds labels: samples and targets are compared with what they are to be of, and what they are of, as more columns.

The distance of labels keeps a sample of one condition from targets of another: with a large weight, the transport is one of its own for
each class; among numbers, a sample goes to targets that are near in both.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pgen.models.nn import append_columns
from pgen.ot import Targets, pair_cost

#: Pairs of targets by which distances are compared with those of labels.
PAIRS = 2048


def label_scale(targets: Targets, condition: Tensor, weight: float, cost: str, random: torch.Generator) -> float:
    """The factor for labels (N, K), of all ``targets``, with which their mean cost is ``weight`` times that of the targets themselves."""
    one, other = torch.randint(targets.total, (2, PAIRS), generator=random, device=random.device)
    of_targets = pair_cost(targets.rows(one), targets.rows(other), cost).mean()
    of_labels = pair_cost(condition[one], condition[other], cost).mean()
    factor = float(weight * of_targets / of_labels.clamp_min(1e-12))
    return factor**0.5 if cost == "sqeuclidean" else factor


def with_labels(
    targets: Targets, values: Tensor, condition: Tensor, weight: float, cost: str, random: torch.Generator
) -> tuple[Targets, float]:
    """``targets``, made of ``values`` here, with their labels beside them, and the factor of these; condition (N, K) is of all targets."""
    scale = label_scale(targets, condition, weight, cost, random)
    own = condition[targets.first : targets.first + len(targets)]
    return Targets(labelled(values, scale * own), targets.group), scale


def random_rows(n: int, *, generator: torch.Generator, rows: Tensor) -> Tensor:
    """n of ``rows`` (N, K), any as likely: labels of random targets."""
    return rows[torch.randint(len(rows), (n,), generator=generator, device=generator.device)]


def labelled(values: Tensor, labels: Tensor) -> Tensor:
    """values (N, D), dense or CSR, with labels (N, K) as columns beside them."""
    if values.layout != torch.sparse_csr:
        return append_columns(values, labels)
    count, (n, size) = labels.shape[1], values.shape
    starts = values.crow_indices() + count * torch.arange(n + 1, device=values.device)
    # Of each row the places behind its lit pixels.
    last = starts[1:, None] - count + torch.arange(count, device=values.device)
    places, charges = (torch.empty(int(starts[-1]), dtype=dtype, device=values.device) for dtype in (torch.int64, values.dtype))
    lit = torch.ones(len(places), dtype=torch.bool, device=values.device)
    lit[last] = False
    places[lit], charges[lit] = values.col_indices(), values.values()
    places[last], charges[last] = size + torch.arange(count, device=values.device), labels.to(values.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(starts, places, charges, (n, size + count), check_invariants=True)
