"""Transport with labels, and what the models log about merged targets.

Samples and targets are compared with their labels as further columns. The distance between labels
keeps samples of one condition from targets of another. With a large weight, each class gets a
transport of its own; with numeric labels, a sample goes to targets that are near in both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from pgen.models.nn import append_columns
from pgen.ot import Targets, pair_cost

#: Pairs of targets on which distances are compared with those of labels.
PAIRS = 2048


def label_scale(targets: Targets, condition: Tensor, weight: float, cost: str, generator: torch.Generator) -> float:
    """Compute the factor with which the labels' mean cost is ``weight`` times the targets'.

    Args:
        targets: The targets of all ranks.
        condition: (N, K) encoded labels of all targets.
        weight: Mean cost of labels over that of targets.
        cost: l1, l2 or sqeuclidean.
        generator: Draws the pairs.
    """
    one, other = torch.randint(targets.total, (2, PAIRS), generator=generator, device=generator.device)
    target_cost = pair_cost(targets.rows(one), targets.rows(other), cost).mean()
    label_cost = pair_cost(condition[one], condition[other], cost).mean()
    factor = float(weight * target_cost / label_cost.clamp_min(1e-12))
    return factor**0.5 if cost == "sqeuclidean" else factor


def with_labels(
    targets: Targets, values: Tensor, condition: Tensor, weight: float, cost: str, generator: torch.Generator
) -> tuple[Targets, float]:
    """Append scaled labels to targets.

    Args:
        targets: The targets without labels.
        values: (N, D) the local values that they were made from.
        condition: (N, K) encoded labels of the targets of all ranks.
        weight: See :func:`label_scale`.
        cost: l1, l2 or sqeuclidean.
        generator: See :func:`label_scale`.

    Returns:
        targets: The targets (N, D + K).
        scale: The factor of the labels.
    """
    scale = label_scale(targets, condition, weight, cost, generator)
    own = condition[targets.first : targets.first + len(targets)]
    return Targets(append_labels(values, scale * own), targets.group), scale


def random_rows(n: int, *, generator: torch.Generator, rows: Tensor) -> Tensor:
    """Draw n of the rows (N, K), with replacement: labels of random targets."""
    return rows[torch.randint(len(rows), (n,), generator=generator, device=generator.device)]


def append_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Append labels (N, K) as columns to values (N, D), dense or CSR."""
    if values.layout != torch.sparse_csr:
        return append_columns(values, labels)
    count, (n, size) = labels.shape[1], values.shape
    starts = values.crow_indices() + count * torch.arange(n + 1, device=values.device)
    # The entries of a row's labels come after those of its values.
    last = starts[1:, None] - count + torch.arange(count, device=values.device)
    columns, entries = (torch.empty(int(starts[-1]), dtype=dtype, device=values.device) for dtype in (torch.int64, values.dtype))
    is_value = torch.ones(len(columns), dtype=torch.bool, device=values.device)
    is_value[last] = False
    columns[is_value], entries[is_value] = values.col_indices(), values.values()
    columns[last], entries[last] = size + torch.arange(count, device=values.device), labels.to(values.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, entries, (n, size + count), check_invariants=True)


def log_merged_targets(targets: Targets, log: Callable[[str], None]) -> None:
    """Log how many targets transport merges, if any."""
    if (duplicates := targets.duplicates) is None:
        return
    count, total = duplicates.repeated, targets.total
    log(
        f"{count:,} of {total:,} targets ({count / total:.1%}) are identical to others, but for rounding; "
        f"they are merged into {duplicates.merged:,}, each with the weight of its copies"
    )
