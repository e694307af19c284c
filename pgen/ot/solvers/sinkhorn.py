"""Sinkhorn's iteration between all samples drawn so far and the targets, on each sample's shortlist alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pgen.ot.solvers.shortlists import shortlist
from pgen.ot.targets import Targets

#: Samples a target at which the potential is first found, and by what they have grown when it is found again.
FIRST, GROWTH = 0.125, 1.5
#: Entries of the lists at which there is no more room (half a gigabyte), and samples a target from which on more are no gain.
ROOM, ENOUGH = 2**26, 32
#: The smoothing is this part of the lists' reach, less as samples grow: their noise falls, and so may the bias against it.
SMOOTHING = 0.25
#: Iterations end here, or where chi2 on the samples at hand is this share of what their number leaves on others.
SWEEPS, TOLERANCE = 20, 0.01
#: Entries worked on at a time, and numbers of samples that wait for their lists: many at once are quicker than a batch after the other.
BLOCK, WAITING = 2**18, 2**20
#: Keeps the logarithm of no hits finite.
TINY = 1e-12


class Sinkhorn:
    """A potential from few samples: each is drawn and compared with all targets once, and used in every iteration after that.

    Entropic transport between the samples seen and the targets, of masses ``mass`` (N,), solved by Sinkhorn's iteration (arXiv:1306.0895)
    with a kernel cut to each sample's ``length`` nearest targets and a smoothing that falls (after Schmitzer, arXiv:1610.06519). Soft
    shares have less noise than hard hits, so chi2 on fresh samples is near 0.6 N / M after M of them, where stochastic ascent needs three
    times as many; but the smoothing leaves a bias, so that ascent must take over in the end.

    margin: mean difference between the values of a sample's nearest target and its second. psi: (N,) the potential to start from, in whose
    memory the one found last is written. It rises by no more than the lists reach between two sets of lists, since a target beyond their
    reach would seem to be wanted by no sample. Of targets shared out to ranks, ``mass`` and ``psi`` belong to those here; every rank takes
    in its own samples, equally many.
    """

    def __init__(self, targets: Targets, cost: str, psi: Tensor, mass: Tensor, length: int) -> None:
        self.targets, self.cost, self.length = targets, cost, min(length, targets.distinct)
        self.psi, self.mass = psi, mass
        self.seen, self.margin, self._due = 0, 0.0, FIRST * targets.total
        self._lists: list[tuple[Tensor, Tensor]] = []
        self._waiting: list[Tensor] = []
        self._new: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def full(self) -> bool:
        """Whether more samples would not help."""
        return self.seen >= min(ENOUGH * self.targets.total, ROOM // self.length)

    @torch.no_grad()
    def step(self, x: Tensor) -> None:
        """Take in samples x (B, D)."""
        self._waiting.append(x.clone())  # the caller may write into x again
        self.seen += len(x) * self.targets.ranks
        if self.seen >= self._due:
            self.solve()
        elif sum(part.numel() for part in self._waiting) >= WAITING:
            self._list()

    def _list(self) -> None:
        """Make the lists of the samples that wait for them."""
        if not self._waiting:
            return
        x = self.targets.gather(torch.cat(self._waiting))
        self._waiting = []
        # Of equal targets the first stands in the lists, on whichever rank it is.
        twins = self.targets.duplicates
        psi = self.psi.masked_fill(~twins.is_first, -torch.inf) if twins else self.psi
        index, cost = shortlist(x, self.targets, psi, self.cost, self.length)
        cost = cost.nan_to_num(torch.inf, posinf=torch.inf) if twins else cost
        index, cost = pad(index, (0, self.length - index.shape[1])), pad(cost, (0, self.length - cost.shape[1]), value=torch.inf)
        value = cost - self.psi.to(cost.device)[index]
        everywhere = self.targets.gather(value[None]).transpose(0, 1).flatten(1)
        first, last = everywhere.amin(1, keepdim=True), everywhere.kthvalue(self.length, dim=1, keepdim=True).values
        if self.length < self.targets.distinct:
            # All of those that tie for the last place or none, whichever of them a rank has found.
            cost = cost.masked_fill((value >= last) & (value > first), torch.inf)
        second = everywhere.kthvalue(min(2, self.length), dim=1, keepdim=True).values
        self._new.append((index.int(), cost, torch.cat([second - first, last - first], 1)))

    @torch.no_grad()
    def solve(self) -> None:
        """Find psi for all samples so far."""
        self._list()
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
        for _ in range(SWEEPS if reach > 0 else 0):  # or all targets are one
            frequency = self._frequency(psi.to(cost), width).to(psi.device)
            off = self.targets.sum(((frequency - self.mass).square() / (self.mass + TINY)).sum())
            if float(off) <= TOLERANCE * crowding:
                break
            psi -= width * ((frequency + TINY) / (self.mass + TINY)).log()
            psi = torch.minimum(psi, highest)
        psi = self.targets.spread(psi)
        self.psi.copy_(psi - self.targets.sum(psi.sum()) / self.targets.total)

    def _frequency(self, psi: Tensor, width: float) -> Tensor:
        """(N,) mean share of each target here in the samples."""
        frequency = torch.zeros(len(psi), dtype=torch.float64, device=psi.device)
        for index, cost in self._lists:
            target = index.flatten()
            logit = psi[target].view_as(cost).sub_(cost).div_(width)
            highest = self.targets.gather(logit.amax(1)[None]).amax(0)
            share = logit.sub_(highest[:, None]).exp_()
            # In double precision, so that it does not matter how a list is shared out to ranks.
            share /= self.targets.sum(share.sum(1, dtype=torch.float64))[:, None]
            frequency += _sums(target, share.flatten(), len(psi))
        return frequency / self.seen


def _sums(target: Tensor, share: Tensor, count: int) -> Tensor:
    """(count,) sums of the shares of each target."""
    if share.is_cuda:  # where torch has no bincount that adds in the same order each time
        return share.new_zeros(count).index_add_(0, target, share)
    return torch.bincount(target, share, minlength=count)
