"""Sinkhorn iterations between all samples drawn so far and the targets on their shortlists."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pgen.ot.solvers.shortlists import shortlist
from pgen.ot.targets import Targets

#: Samples per target at which the first solve is done, and their growth until the next one.
FIRST, GROWTH = 0.125, 1.5
#: Limits of the lists: entries (half a gigabyte), and samples per target, beyond which there is no
#: gain.
ROOM, ENOUGH = 2**26, 32
#: Smoothing in units of the lists' reach; it shrinks with the number of samples, as their noise
#: does.
SMOOTHING = 0.25
#: Largest number of iterations, and the chi2 on these samples, as a fraction of that on fresh ones,
#: at which they end.
SWEEPS, TOLERANCE = 20, 0.01
#: Entries processed at a time, and values of samples that are collected before lists are made,
#: which is faster than batch by batch.
BLOCK, WAITING = 2**18, 2**20
#: Keeps the logarithm of no hits finite.
TINY = 1e-12


class Sinkhorn:
    """A potential from few samples, each of which is used in every iteration.

    Entropic transport between the samples so far and the targets is solved by Sinkhorn's iteration
    (arXiv:1306.0895), with a kernel cut to each sample's nearest targets and a smoothing that
    shrinks (after Schmitzer, arXiv:1610.06519). Soft assignments have less noise than hard hits, so
    chi2 on fresh samples is near 0.6 N / M after M of them, for which stochastic ascent needs three
    times as many. But the smoothing leaves a bias, so that ascent must take over in the end.

    Attributes: psi: (N,) the potential, updated in place. Between two sets of lists it rises by no
        more than
            their reach, since a target beyond it would seem to be nearest to no sample.
        margin: Mean difference between the values of a sample's nearest target and its second.
        seen: Samples so far, on all ranks.
    """

    def __init__(self, targets: Targets, cost: str, psi: Tensor, mass: Tensor, length: int) -> None:
        """Start from a potential.

        Args:
            targets: The targets; with several ranks each passes its own samples, equally many.
            cost: l1, l2 or sqeuclidean.
            psi: (N,) the potential of the local targets to start from, overwritten.
            mass: (N,) masses of the local targets.
            length: Targets in a shortlist.
        """
        self.targets, self.cost, self.length = targets, cost, min(length, targets.distinct)
        self.psi, self.mass = psi, mass
        self.seen, self.margin, self._due = 0, 0.0, FIRST * targets.total
        self._lists: list[tuple[Tensor, Tensor]] = []
        self._waiting: list[Tensor] = []
        self._new: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def is_full(self) -> bool:
        """Whether more samples would not help."""
        return self.seen >= min(ENOUGH * self.targets.total, ROOM // self.length)

    @torch.no_grad()
    def step(self, x: Tensor) -> None:
        """Add samples x (B, D), and solve if there are enough new ones."""
        self._waiting.append(x.clone())  # the caller may write into x again
        self.seen += len(x) * self.targets.ranks
        if self.seen >= self._due:
            self.solve()
        elif sum(part.numel() for part in self._waiting) >= WAITING:
            self._make_lists()

    def _make_lists(self) -> None:
        if not self._waiting:
            return
        x = self.targets.gather(torch.cat(self._waiting))
        self._waiting = []
        # Of equal targets only the first is in the lists, on whichever rank it is.
        duplicates = self.targets.duplicates
        psi = self.psi.masked_fill(~duplicates.is_first, -torch.inf) if duplicates else self.psi
        index, cost = shortlist(x, self.targets, psi, self.cost, self.length)
        cost = cost.nan_to_num(torch.inf, posinf=torch.inf) if duplicates else cost
        index, cost = pad(index, (0, self.length - index.shape[1])), pad(cost, (0, self.length - cost.shape[1]), value=torch.inf)
        value = cost - self.psi.to(cost.device)[index]
        all_values = self.targets.gather(value[None]).transpose(0, 1).flatten(1)
        first, last = all_values.amin(1, keepdim=True), all_values.kthvalue(self.length, dim=1, keepdim=True).values
        if self.length < self.targets.distinct:
            # Either all targets that tie for the last place or none, whichever of them a rank
            # found.
            cost = cost.masked_fill((value >= last) & (value > first), torch.inf)
        second = all_values.kthvalue(min(2, self.length), dim=1, keepdim=True).values
        self._new.append((index.int(), cost, torch.cat([second - first, last - first], 1)))

    @torch.no_grad()
    def solve(self) -> None:
        """Solve for psi on all samples so far."""
        self._make_lists()
        if not self._new:
            return
        index, cost, gaps = (torch.cat(parts) for parts in zip(*self._new, strict=True))
        self._new = []
        rows = max(1, BLOCK // self.length)
        self._lists += zip(index.split(rows), cost.split(rows), strict=True)
        self.margin, reach = float(gaps[:, 0].mean()), float(gaps[:, 1].median())
        self._due = GROWTH * self.seen
        crowding = self.targets.distinct / self.seen
        width = SMOOTHING * reach / (1 + 1 / crowding) ** 0.5
        psi = self.psi.double()
        highest = psi + reach
        for _ in range(SWEEPS if reach > 0 else 0):  # no reach: a single distinct target
            frequency = self._frequency(psi.to(cost), width).to(psi.device)
            off = self.targets.sum(((frequency - self.mass).square() / (self.mass + TINY)).sum())
            if float(off) <= TOLERANCE * crowding:
                break
            psi -= width * ((frequency + TINY) / (self.mass + TINY)).log()
            psi = torch.minimum(psi, highest)
        psi = self.targets.spread(psi)
        self.psi.copy_(psi - self.targets.sum(psi.sum()) / self.targets.total)

    def _frequency(self, psi: Tensor, width: float) -> Tensor:
        """Return the mean fraction (N,) of a sample that each local target gets."""
        frequency = torch.zeros(len(psi), dtype=torch.float64, device=psi.device)
        for index, cost in self._lists:
            target = index.flatten()
            logit = psi[target].view_as(cost).sub_(cost).div_(width)
            highest = self.targets.gather(logit.amax(1)[None]).amax(0)
            fraction = logit.sub_(highest[:, None]).exp_()
            # In double precision, so that it does not matter how ranks share a list.
            fraction /= self.targets.sum(fraction.sum(1, dtype=torch.float64))[:, None]
            frequency += _sum_by_target(target, fraction.flatten(), len(psi))
        return frequency / self.seen


def _sum_by_target(target: Tensor, values: Tensor, count: int) -> Tensor:
    if values.is_cuda:  # where bincount does not add in the same order each time
        return values.new_zeros(count).index_add_(0, target, values)
    return torch.bincount(target, values, minlength=count)
