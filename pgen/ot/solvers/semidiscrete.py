"""The whole solve: from a sampler and targets to a certified potential."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pgen.ot.assignment.assign import assign
from pgen.ot.solvers.certificate import NORMAL, Certificate, certify
from pgen.ot.solvers.cuda_graph import replayed
from pgen.ot.solvers.dual_ascent import DualAscent
from pgen.ot.solvers.heavy_targets import SAMPLES, find_heavy, weigh
from pgen.ot.solvers.sinkhorn import Sinkhorn
from pgen.ot.targets import Targets

Sampler = Callable[[int], Tensor]
#: Samples a target before the potential is first looked at.
FIRST_LOOK = 2
#: A look costs samples too: the next is due where chi2, which falls as one over the samples, should be at its goal, within these factors;
#: sooner in shortlists, whose chi2 falls faster at first.
SOONEST, LATEST, LATEST_IN_LISTS = 1.25, 4.0, 2.0
#: A look that finds more than this share of the chi2 before ends the shortlists or doubles the batch.
STALLED = 0.8
#: A sample in shortlists lowers chi2 as far as three or four in ascent.
WORTH = 4
#: The unit of ascent after the lists, in mean differences between the nearest target and the second: what decides a hit.
MARGINS = 8


class SemiDiscreteOT(nn.Module):
    """Semi-discrete optimal transport: the potential psi under which every target y_j of ``targets`` is nearest, by c - psi, to its share
    of the samples.

    The first samples are kept, as shortlists of their nearest targets, and solved together (:class:`pgen.ot.solvers.sinkhorn.Sinkhorn`), which
    takes few of them; stochastic ascent (:class:`DualAscent`), which needs no memory, goes on from there.

    targets: (N, D), a tensor, dense or CSR, or :class:`Targets`. cost: l1, l2 or sqeuclidean. batch_size: samples a step, on all ranks
    together, at first; two or more. shortlist: targets kept of each of the first samples, two or more; 0 begins with ascent. weights,
    method, rate, slow, momentum, averaging, epsilon: see :class:`DualAscent`. ``state_dict`` holds the potential found so far and the
    targets' hash, and loads only beside the same targets; a later :meth:`fit` starts from it. ValueError for an option out of its range.

    Equal targets are one target to the solve, with their joint mass: samples go to the first of them, and chi2 is of these masses.

    Example: see :mod:`pgen.ot`.
    """

    def __init__(self, targets: Tensor | Targets, cost: str = "l1", *, batch_size: int = 256, shortlist: int = 64, **options: Any) -> None:
        super().__init__()
        if batch_size < 2:
            raise ValueError(f"batch_size {batch_size}: wanted 2 or more")
        if shortlist < 0 or shortlist == 1:
            raise ValueError(f"shortlist {shortlist}: wanted 2 or more, or 0 for none")
        self.targets = targets if isinstance(targets, Targets) else Targets(targets)
        self.batch_size, self.shortlist = batch_size, shortlist
        self.ascent = DualAscent(len(self.targets), cost, **options).to(self.targets.device, self.targets.dtype)
        self._lists: Sinkhorn | None = None

    @property
    def psi(self) -> Tensor:
        """(N,) the potential found so far."""
        return self.ascent.average

    def begin(self, x: Tensor) -> None:
        """Begin a solve for samples like x (B, D), from the potential of the last one if that is better than none."""
        self.ascent.begin(x, self.targets)
        mass = self.ascent.mass(self.targets)
        self._lists = Sinkhorn(self.targets, self.ascent.cost, self.psi, mass, self.shortlist) if self.shortlist else None

    def step(self, x: Tensor) -> None:
        """Take in samples x (B, D)."""
        if self._lists is None:
            self.ascent.step(x, self.targets)
            return
        self._lists.step(x)
        if self._lists.full:
            self._leave_lists(len(x))

    def _leave_lists(self, batch: int) -> None:
        if self._lists:
            self._lists.solve()
            steps = WORTH * self._lists.seen // (batch * self.targets.ranks)
            self.ascent.warm_start(self._lists.psi, steps, MARGINS * self._lists.margin)
            self._lists = None

    def fit(
        self,
        sampler: Sampler,
        *,
        chi2: float = 0.05,
        most: float = 1000.0,
        watch: Callable[[Certificate, int], None] | None = None,
        replay: bool = False,
    ) -> Certificate:
        """Solve until a certificate on fresh samples has at most ``chi2``, or ``most`` samples a target are spent; the last certificate.

        sampler: n to n fresh samples (n, D) on the targets' device; on each rank its own. n grows where ascent comes no further. most: but
        for the samples of certificates. watch: is told each certificate and the samples spent so far. replay: on a GPU that holds all
        targets, record a step of ascent, the sampler in it, and replay it (:mod:`pgen.ot.solvers.cuda_graph`); the sampler may then draw random numbers
        only of torch's own generator of the GPU.

        Raises:
            ValueError: an option out of its range, samples of another shape, or that are not numbers.
        """
        if chi2 <= 0 or most <= 0:
            raise ValueError(f"chi2 {chi2}, most {most}: wanted both above 0")
        count, ranks = self.targets.total, self.targets.ranks
        batch = max(1, self.batch_size // ranks)
        sampler = self._checked(sampler)
        self.begin(sampler(batch))
        step = self._steps(sampler, batch, replay)
        spent, due, before = 0, min(FIRST_LOOK, most), math.inf
        while True:
            while spent < due * count:
                step()
                spent += batch * ranks
            if self._lists:
                self._lists.solve()
            found = self.certify(sampler, min(spent, self._look(chi2)))
            if math.isnan(found.dual):
                raise ValueError("the targets' values are not numbers: found NaN among the samples or the targets, wanted none")
            if watch:
                watch(found, spent)
            done, stalled = found.chi2 <= chi2 or spent >= most * count, found.chi2 > STALLED * before
            if stalled and not self._lists:
                batch *= 2
                step = self._steps(sampler, batch, replay)
            if done or stalled:
                self._leave_lists(batch)
            if done and self._weigh_heavy(sampler):
                found = self.certify(sampler, found.samples)
                if watch:
                    watch(found, spent)
            if done:
                return found
            before = found.chi2
            latest = LATEST_IN_LISTS if self._lists else LATEST
            due = min(most, spent / count * min(latest, max(SOONEST, found.chi2 / chi2)))

    def _weigh_heavy(self, sampler: Sampler) -> bool:
        """Whether there are heavy targets, whose potentials were then found anew."""
        mass = self.ascent.mass(self.targets)
        if not len(find_heavy(self.targets, mass)):
            return False
        self.psi.copy_(weigh(sampler(-(-SAMPLES // self.targets.ranks)), self.targets, self.psi, self.ascent.cost, mass))
        return True

    def _steps(self, sampler: Sampler, batch: int, replay: bool) -> Callable[[], None]:
        """What takes in one batch of samples after the other."""

        def move() -> None:
            self.ascent.move(sampler(batch), self.targets)

        ascend = replayed(move, self.targets) if replay else move

        def step() -> None:
            if self._lists:
                self.step(sampler(batch))
            else:
                self.ascent.plan(self.targets)
                ascend()

        return step

    def certify(self, sampler: Sampler, samples: int | None = None, *, bound: bool = False) -> Certificate:
        """Certificate of the averaged potential on ``samples`` fresh ones, eight a target if not given; see :func:`certify`."""
        share, block = max(3, -(-(samples or 8 * self.targets.total) // self.targets.ranks)), max(1, 4096 // self.targets.ranks)
        sizes = [min(block, share - start) for start in range(0, share, block)]
        return certify(map(self._checked(sampler), sizes), self.targets, self.psi, self.ascent.cost, self.ascent.weights, bound=bound)

    def pairs(
        self, noise: Sampler, generator: Callable[[Tensor], Tensor] | None = None, *, batch_size: int = 256
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Without end, batches of noise (batch_size, Z) and the targets (batch_size, D) that ``generator(noise)``, or the noise itself, is
        transported to: what a generator or a flow is fitted to. The targets must all be here."""
        while True:
            z = noise(batch_size)
            with torch.no_grad():
                x = generator(z) if generator else z
            index, _ = assign(x, self.targets, self.psi, self.ascent.cost)
            yield z, self.targets.rows(index)

    def _checked(self, sampler: Sampler) -> Sampler:
        """``sampler``, and ValueError where it gives anything else than was asked for."""

        def checked(n: int) -> Tensor:
            x, wanted = sampler(n), (n, self.targets.shape[1])
            if x.shape != wanted or x.dtype != self.targets.dtype:
                raise ValueError(f"the sampler gave {tuple(x.shape)} of {x.dtype}, wanted {wanted} of {self.targets.dtype}")
            return x

        return checked

    def _look(self, goal: float) -> int:
        """Samples under which the interval of a chi2 at its goal is about a quarter of it to either side; a multiple of 64, so that it does
        not depend on the number of ranks."""
        return 64 * math.ceil(4 * NORMAL * math.sqrt(2 * self.targets.total) / goal / 64)

    def get_extra_state(self) -> dict[str, str]:
        return {"targets": self.targets.key}

    def set_extra_state(self, state: dict[str, str]) -> None:
        if state["targets"] != self.targets.key:
            raise ValueError("the potential belongs to other targets (their hashes differ); fit it anew to these")
