"""Find targets that are equal, or so close that transport to one is as good as to another.

No potential tells equal targets apart, and telling the members of a tight cluster apart takes so
many samples that the cluster as a whole gets the wrong mass. A solve therefore treats each group as
one target with the joint mass.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pgen.ot.rows import ShardedRows

#: Values that are hashed, or compared, at a time.
BLOCK = 2**18
#: A cluster is tight if its members are within this fraction of the root mean square distance
#: between targets. It counts from this number and fraction of all targets on: smaller ones have
#: little mass, and occur in smooth distributions of few dimensions.
RADIUS, MEMBERS, FRACTION = 1e-3, 4, 0.005
#: Targets, and values of them, among which clusters are searched: some members of each cluster will
#: be there.
SAMPLE, SAMPLE_VALUES = 1024, 2**21


class Duplicates:
    """Groups of targets with one joint mass.

    One target represents each group; where all are equal it is the first.

    Attributes:
        representative: (N,) global index of the representative of each local target, its own index
            for a target without duplicates.
        is_first: (N,) whether a local target represents its group.
        group: (N,) the number of each target's group among the groups on this rank.
        count: The number of groups with a target on this rank.
        distinct: The number of groups on all ranks.
        repeated: The number of targets, on all ranks, in groups of several.
        merged: The number of groups of several targets, on all ranks.
        shared: (K,) the local numbers of groups that have targets on several ranks, the same groups
            in the same order on each rank; ``count`` for a group without a target here. None where
            there is no such group.
    """

    def __init__(self, equal: Tensor, representative: Tensor, targets: ShardedRows) -> None:
        """Collect the groups.

        Args:
            equal: (total,) global index of the first target that is equal, for all targets.
            representative: (total,) global index of the representative of the group.
            targets: The targets.
        """
        here = slice(targets.first, targets.first + len(targets))
        numbers = torch.arange(len(equal), device=equal.device)
        self.representative = representative[here]
        self.is_first = self.representative == numbers[here]
        representatives, self.group = self.representative.unique(return_inverse=True)
        self.count = len(representatives)
        sizes = torch.bincount(representative)
        self.distinct = int((sizes > 0).sum())
        self.repeated, self.merged = int(sizes[sizes > 1].sum()), int((sizes > 1).sum())
        self.shared: Tensor | None = None
        rank = torch.repeat_interleave(torch.tensor(targets.counts, device=equal.device))
        if len(shared := representative[rank != rank[representative]].unique()):
            place = torch.searchsorted(representatives, shared).clamp_max(self.count - 1)
            self.shared = torch.where(representatives[place] == shared, place, self.count)
        self._equal = equal[here].unique(return_inverse=True)[1]

    def single_out(self, psi: Tensor) -> Tensor:
        """Set the potential of all but one of equal targets to minus infinity.

        The first of those with the largest potential keeps it. Assignments are the same, and need
        not decide between equal targets.

        Args:
            psi: (N,) potential of the local targets.
        """
        equal, numbers = self._equal.to(psi.device), torch.arange(len(psi), device=psi.device)
        # A NaN among the potentials must not hide the others.
        value = psi.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        largest = torch.full_like(psi, -torch.inf).scatter_reduce_(0, equal, value, "amax")
        number = torch.where(value == largest[equal], numbers, len(psi))
        chosen = torch.full_like(number, len(psi)).scatter_reduce_(0, equal, number, "amin")
        return psi.masked_fill(numbers != chosen[equal], -torch.inf)


def find_duplicates(targets: ShardedRows) -> Duplicates | None:
    """Find the groups among the targets of all ranks; 0 and -0 are equal.

    Returns:
        None where no target has a duplicate.
    """
    equal = _find_equal(targets)
    representative = _find_clusters(equal, targets)
    own = torch.arange(len(equal), device=equal.device)
    return None if torch.equal(representative, own) else Duplicates(equal, representative, targets)


def _find_equal(targets: ShardedRows) -> Tensor:
    """Find the first equal target (total,) of each: by a hash of each row, then value by value."""
    hashes = _gather(_hash_rows(targets), targets)
    first = torch.arange(len(hashes), device=hashes.device)
    undecided = first.clone()
    while len(undecided):
        _, group = hashes[undecided].unique(return_inverse=True)
        earliest = undecided.new_full((len(undecided),), len(hashes)).scatter_reduce_(0, group, undecided, "amin")[group]
        later, earlier = undecided[earliest != undecided], earliest[earliest != undecided]
        equal = _are_equal(later, earlier, targets)
        first[later[equal]] = earlier[equal]
        undecided = later[~equal]  # hash collisions
    return first


def _hash_rows(targets: ShardedRows) -> Tensor:
    """Hash each row to int64: the sum, modulo 2^64, of its 32-bit words times random numbers.

    Zeros add nothing, so dense and sparse rows agree.
    """
    size = targets.shape[1] * (targets.dtype.itemsize // 4)
    factors = torch.randint(-(2**62), 2**62, (size,), generator=torch.Generator().manual_seed(0)).to(targets.device) * 2 + 1
    if not targets.sparse:
        blocks = targets.dense.split(max(1, BLOCK // size))
        return torch.cat([(_to_words(block) * factors).sum(1) for block in blocks])
    _, columns, values = targets.csr
    factors = factors.view(targets.shape[1], -1)
    hashes = torch.zeros(len(targets), device=targets.device, dtype=torch.long)
    for row, column, value in zip(targets.nonzero_rows().split(BLOCK), columns.split(BLOCK), values.split(BLOCK), strict=True):
        hashes.index_add_(0, row, (_to_words(value[:, None]) * factors[column.long()]).sum(1))
    return hashes


def _to_words(rows: Tensor) -> Tensor:
    """View values (n, D) as 32-bit words, -0 as 0."""
    return (rows + 0.0).flatten().view(torch.int32).view(len(rows), rows.shape[1] * rows.itemsize // 4).long()


def _are_equal(one: Tensor, other: Tensor, targets: ShardedRows) -> Tensor:
    """Compare targets pairwise, by global indices (n,) that are the same on every rank."""
    if not len(one):
        return torch.zeros(0, dtype=torch.bool, device=one.device)
    # Each rank compares its part of the pairs; all parts have the same length.
    share = -(-len(one) // targets.ranks)
    begin = targets.rank * share
    pairs = torch.stack([one, other], 1)[begin : begin + share]
    pairs = pad(pairs, (0, 0, 0, share - len(pairs)))
    height = max(1, BLOCK // (targets.shape[1] * targets.ranks))
    matches = [
        (_to_words(targets.rows(a)) == _to_words(targets.rows(b))).all(1) for a, b in (part.unbind(1) for part in pairs.split(height))
    ]
    return targets.gather(torch.cat(matches))[: len(one)]


def _find_clusters(equal: Tensor, targets: ShardedRows) -> Tensor:
    """Find the representative (total,) of each target's tight cluster, by default ``equal``."""
    size = min(SAMPLE, max(MEMBERS, SAMPLE_VALUES // targets.shape[1]), len(equal))
    sample = torch.randperm(len(equal), generator=torch.Generator().manual_seed(0))[:size].to(equal.device)
    rows = targets.rows(sample).double()
    centre = rows.mean(0)
    distances = _square_distances(rows - centre, rows - centre)
    radius = RADIUS**2 * float(distances.mean())
    is_near = distances <= radius
    leaders: list[int] = []
    while int((near := is_near.sum(1)).max()) >= MEMBERS:
        leader = int(near.argmax())
        members = is_near[leader].clone()
        if len(equal[sample[members]].unique()) > 1:
            leaders.append(leader)
        is_near[:, members], is_near[members] = False, False
    if not leaders:
        return equal
    chosen = equal[sample[leaders]]
    nearest_leaders = []
    height = max(1, BLOCK // targets.shape[1])
    for start in range(0, len(targets), height):
        block = targets.block(start, min(start + height, len(targets)), equal.device).dense.double() - centre
        distance, nearest = _square_distances(block, rows[leaders] - centre).min(1)
        nearest_leaders.append(torch.where(distance <= radius, chosen[nearest], -1))
    # Equal targets belong to the same cluster, whatever rounding says of their distances.
    leader_of = _gather(torch.cat(nearest_leaders), targets)
    leader_of[chosen] = chosen
    leader_of = leader_of[equal]
    sizes = torch.bincount(leader_of[leader_of >= 0], minlength=len(equal))
    is_heavy = (leader_of >= 0) & (sizes[leader_of] >= max(MEMBERS, FRACTION * len(equal)))
    return torch.where(is_heavy, leader_of, equal)


def _square_distances(one: Tensor, other: Tensor) -> Tensor:
    """Squared distances (n, m) of rows (n, D) and (m, D) near the origin."""
    return torch.addmm(one.square().sum(1)[:, None] + other.square().sum(1), one, other.T, alpha=-2).clamp_min_(0)


def _gather(values: Tensor, targets: ShardedRows) -> Tensor:
    """Concatenate values (N,), one for each local target, of all ranks."""
    if targets.group is None:
        return values
    most = max(targets.counts)
    rows = targets.gather(pad(values, (0, most - len(values)))).view(-1, most)
    return torch.cat([row[:count] for row, count in zip(rows, targets.counts, strict=True)])
