"""Targets that are equal, or so nearly equal that transport to one of them is as good as to another.

No potential tells equal targets apart, and to tell those of a tight cluster apart it takes so many samples that the cluster as a whole gets
a wrong share of them. So a solve takes each group for one target of their joint mass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from pgen.ot.targets import Targets

#: Values that are hashed, or compared, at a time.
BLOCK = 2**18
#: A cluster is tight where its members are within so much of the root mean square distance of targets, and counts from this number and
#: fraction of all targets on: fewer are left alone, as they weigh little, and as smooth distributions of few dimensions have them.
RADIUS, MEMBERS, FRACTION = 1e-3, 4, 0.005
#: Targets, and values of them, among which clusters are looked for: some of a cluster's members will be there.
SAMPLE, SAMPLE_VALUES = 1024, 2**21


class Duplicates:
    """Groups of targets with one joint mass. One of a group, the first where all are equal, represents it.

    Attributes:
        representative: (N,) its number, among those of all ranks, for each target here; its own number where it stands for itself alone.
        is_first: (N,) whether a target here represents its group.
        group: (N,) the number of each target's group among those with a target here.
        count: groups with a target here.
        distinct: groups on all ranks.
        repeated: targets on all ranks in groups of several.
        merged: groups of several targets on all ranks.
        shared: (K,) the numbers here of the groups that have targets on several ranks, the same groups in the same order on each of them;
            ``count`` for a group without a target here. None where there is no such group.
    """

    def __init__(self, equal: Tensor, representative: Tensor, targets: Targets) -> None:
        """equal, representative: (total,), for the targets of all ranks, numbers of the first one that is equal, and of that which
        represents the group."""
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
        """psi (N,) of the targets here, with minus infinity for all but one of equal ones: the first of those with the largest value. An
        assignment finds the same under it, and need not decide between equal targets."""
        equal, numbers = self._equal.to(psi.device), torch.arange(len(psi), device=psi.device)
        # A potential that is not a number must not hide those that are.
        value = psi.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        largest = torch.full_like(psi, -torch.inf).scatter_reduce_(0, equal, value, "amax")
        number = torch.where(value == largest[equal], numbers, len(psi))
        chosen = torch.full_like(number, len(psi)).scatter_reduce_(0, equal, number, "amin")
        return psi.masked_fill(numbers != chosen[equal], -torch.inf)


def find_duplicates(targets: Targets) -> Duplicates | None:
    """The groups of the targets of all ranks; None where each target stands for itself alone. 0 and -0 are equal."""
    equal = _find_equal(targets)
    representative = _find_clusters(equal, targets)
    alone = torch.arange(len(equal), device=equal.device)
    return None if torch.equal(representative, alone) else Duplicates(equal, representative, targets)


def _find_equal(targets: Targets) -> Tensor:
    """(total,) for the targets of all ranks, the number of the first one that is equal: by a hash of each row, then value by value."""
    hashes = _gather(_hash_rows(targets), targets)
    first = torch.arange(len(hashes), device=hashes.device)
    undecided = first.clone()
    while len(undecided):
        _, group = hashes[undecided].unique(return_inverse=True)
        earliest = undecided.new_full((len(undecided),), len(hashes)).scatter_reduce_(0, group, undecided, "amin")[group]
        later, earlier = undecided[earliest != undecided], earliest[earliest != undecided]
        equal = _are_equal(later, earlier, targets)
        first[later[equal]] = earlier[equal]
        undecided = later[~equal]  # a hash in common by chance
    return first


def _hash_rows(targets: Targets) -> Tensor:
    """(N,) int64: sums, modulo 2^64, of a row's 32-bit words times random numbers. Zeros add nothing, so dense and sparse rows agree."""
    size = targets.shape[1] * (targets.dtype.itemsize // 4)
    factors = torch.randint(-(2**62), 2**62, (size,), generator=torch.Generator().manual_seed(0)).to(targets.device) * 2 + 1
    if not targets.sparse:
        blocks = targets.dense.split(max(1, BLOCK // size))
        return torch.cat([(_words(block) * factors).sum(1) for block in blocks])
    _, pixels, charges = targets.lit
    factors = factors.view(targets.shape[1], -1)
    hashes = torch.zeros(len(targets), device=targets.device, dtype=torch.long)
    for row, pixel, charge in zip(targets.lit_rows().split(BLOCK), pixels.split(BLOCK), charges.split(BLOCK), strict=True):
        hashes.index_add_(0, row, (_words(charge[:, None]) * factors[pixel.long()]).sum(1))
    return hashes


def _words(rows: Tensor) -> Tensor:
    """The 32-bit words of values (n, D), of -0 those of 0."""
    return (rows + 0.0).flatten().view(torch.int32).view(len(rows), rows.shape[1] * rows.itemsize // 4).long()


def _are_equal(one: Tensor, other: Tensor, targets: Targets) -> Tensor:
    """(n,) whether targets equal others, both given by their numbers (n,) among all, the same on every rank."""
    if not len(one):
        return torch.zeros(0, dtype=torch.bool, device=one.device)
    # Each rank compares its part of the pairs, and all parts are as long.
    share = -(-len(one) // targets.ranks)
    begin = targets.rank * share
    pairs = torch.stack([one, other], 1)[begin : begin + share]
    pairs = pad(pairs, (0, 0, 0, share - len(pairs)))
    height = max(1, BLOCK // (targets.shape[1] * targets.ranks))
    matches = [(_words(targets.rows(a)) == _words(targets.rows(b))).all(1) for a, b in (part.unbind(1) for part in pairs.split(height))]
    return targets.gather(torch.cat(matches))[: len(one)]


def _find_clusters(equal: Tensor, targets: Targets) -> Tensor:
    """(total,) for the targets of all ranks, the number of the one that represents its tight cluster; ``equal`` where there is none."""
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
        block = targets.part(start, min(start + height, len(targets)), equal.device).dense.double() - centre
        distance, nearest = _square_distances(block, rows[leaders] - centre).min(1)
        nearest_leaders.append(torch.where(distance <= radius, chosen[nearest], -1))
    # Equal ones are alike in this too, whatever rounding says of them.
    leader_of = _gather(torch.cat(nearest_leaders), targets)
    leader_of[chosen] = chosen
    leader_of = leader_of[equal]
    sizes = torch.bincount(leader_of[leader_of >= 0], minlength=len(equal))
    is_heavy = (leader_of >= 0) & (sizes[leader_of] >= max(MEMBERS, FRACTION * len(equal)))
    return torch.where(is_heavy, leader_of, equal)


def _square_distances(one: Tensor, other: Tensor) -> Tensor:
    """(n, m) of rows (n, D) and (m, D) near the origin."""
    return torch.addmm(one.square().sum(1)[:, None] + other.square().sum(1), one, other.T, alpha=-2).clamp_min_(0)


def _gather(values: Tensor, targets: Targets) -> Tensor:
    """(total,) of ``values`` (N,) of each rank's targets."""
    if targets.group is None:
        return values
    most = max(targets.counts)
    rows = targets.gather(pad(values, (0, most - len(values)))).view(-1, most)
    return torch.cat([row[:count] for row, count in zip(rows, targets.counts, strict=True)])
