"""The complete solver: from a sampler and targets to a certified potential."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from pgen.ot.assignment.assign import assign
from pgen.ot.solvers.certificate import NORMAL, Certificate, certify
from pgen.ot.solvers.cuda_graph import make_graphed
from pgen.ot.solvers.dual_ascent import DualAscent
from pgen.ot.solvers.heavy_targets import SAMPLES, find_heavy, solve_heavy_targets
from pgen.ot.solvers.sinkhorn import Sinkhorn
from pgen.ot.targets import Targets

Sampler = Callable[[int], Tensor]
#: Samples per target before the first certificate.
FIRST_CERTIFICATE = 2
#: Certificates cost samples too. The next one is due when chi2, which falls as one over the
#: samples, should be at its goal, within these factors of the samples so far; sooner with
#: shortlists, where chi2 falls faster at first.
SOONEST, LATEST, LATEST_IN_LISTS = 1.25, 4.0, 2.0
#: A chi2 above this fraction of the previous one ends the shortlists or doubles the batch.
STALLED = 0.8
#: A sample in shortlists lowers chi2 as much as three or four in ascent.
ASCENT_SAMPLES = 4
#: The unit of ascent after the lists, in mean differences between the nearest and second target,
#: which decide a hit.
MARGINS = 8


class SemiDiscreteOT(nn.Module):
    """Solver of semi-discrete optimal transport; see :mod:`pgen.ot` for an example.

    It finds the potential psi under which every target y_j is nearest, by c - psi, to its fraction
    of the samples. The first samples are kept, as shortlists of their nearest targets, and solved
    together (:class:`pgen.ot.solvers.sinkhorn.Sinkhorn`), which takes few samples. Stochastic
    ascent (:class:`DualAscent`), which needs no memory, continues from there.

    Equal targets count as one with their joint mass: samples go to the first of them, and chi2
    refers to these masses. ``state_dict`` holds the potential and the targets' hash, and can only
    be loaded with the same targets; a later :meth:`fit` starts from it.
    """

    def __init__(self, targets: Tensor | Targets, cost: str = "l1", *, batch_size: int = 256, shortlist: int = 64, **options: Any) -> None:
        """Prepare a solve.

        Args: targets: (N, D), a tensor, dense or CSR, or :class:`Targets`. cost: l1, l2 or
            sqeuclidean. batch_size: Samples per step on all ranks together, at first; two or more.
            shortlist: Targets kept for each of the first samples, two or more; 0 starts with
            ascent. **options: weights, method, rate, slow, momentum, averaging and epsilon of
                :class:`DualAscent`.

        Raises:
            ValueError: An option out of its range.
        """
        super().__init__()
        if batch_size < 2:
            raise ValueError(f"expected batch_size to be 2 or more, got {batch_size}")
        if shortlist < 0 or shortlist == 1:
            raise ValueError(f"expected shortlist to be 2 or more, or 0 for none, got {shortlist}")
        self.targets = targets if isinstance(targets, Targets) else Targets(targets)
        self.batch_size, self.shortlist = batch_size, shortlist
        self.ascent = DualAscent(len(self.targets), cost, **options).to(self.targets.device, self.targets.dtype)
        self._lists: Sinkhorn | None = None

    @property
    def psi(self) -> Tensor:
        """The potential (N,) found so far."""
        return self.ascent.average

    def begin(self, x: Tensor) -> None:
        """Begin a solve for samples like x (B, D), from the last potential if it is of use."""
        self.ascent.begin(x, self.targets)
        mass = self.ascent.mass(self.targets)
        self._lists = Sinkhorn(self.targets, self.ascent.cost, self.psi, mass, self.shortlist) if self.shortlist else None

    def step(self, x: Tensor) -> None:
        """Do one step on samples x (B, D)."""
        if self._lists is None:
            self.ascent.step(x, self.targets)
            return
        self._lists.step(x)
        if self._lists.is_full:
            self._leave_lists(len(x))

    def _leave_lists(self, batch: int) -> None:
        if self._lists:
            self._lists.solve()
            steps = ASCENT_SAMPLES * self._lists.seen // (batch * self.targets.ranks)
            self.ascent.warm_start(self._lists.psi, steps, MARGINS * self._lists.margin)
            self._lists = None

    def fit(
        self,
        sampler: Sampler,
        *,
        chi2: float = 0.05,
        max_samples_per_target: float = 1000.0,
        callback: Callable[[Certificate, int], None] | None = None,
        cuda_graph: bool = False,
    ) -> Certificate:
        """Solve until a certificate on fresh samples reaches a chi2, or samples run out.

        Args:
            sampler: Maps n to n fresh samples (n, D) on the targets' device, different ones on each
                rank. n grows when ascent stalls.
            chi2: The goal.
            max_samples_per_target: The limit, not counting the samples of certificates.
            callback: Called with each certificate and the number of samples so far.
            cuda_graph: On a GPU that holds all targets, replay ascent steps, including the sampler,
                as a CUDA graph (:mod:`pgen.ot.solvers.cuda_graph`). The sampler may then draw
                random numbers only from torch's default generator of the GPU.

        Returns:
            The last certificate.

        Raises:
            ValueError: An option out of its range, or samples of another shape, or NaN.
        """
        limit = max_samples_per_target
        if chi2 <= 0 or limit <= 0:
            raise ValueError(f"expected chi2 and max_samples_per_target above 0, got {chi2} and {limit}")
        count, ranks = self.targets.total, self.targets.ranks
        batch = max(1, self.batch_size // ranks)
        sampler = self._check_shapes(sampler)
        self.begin(sampler(batch))
        step = self._make_step(sampler, batch, cuda_graph)
        spent, due, previous_chi2 = 0, min(FIRST_CERTIFICATE, limit), math.inf
        while True:
            while spent < due * count:
                step()
                spent += batch * ranks
            if self._lists:
                self._lists.solve()
            certificate = self.certify(sampler, min(spent, self._certificate_size(chi2)))
            if math.isnan(certificate.dual):
                raise ValueError("expected numbers, got NaN among the samples or the targets")
            if callback:
                callback(certificate, spent)
            done = certificate.chi2 <= chi2 or spent >= limit * count
            stalled = certificate.chi2 > STALLED * previous_chi2
            if stalled and not self._lists:
                batch *= 2
                step = self._make_step(sampler, batch, cuda_graph)
            if done or stalled:
                self._leave_lists(batch)
            if done and self._solve_heavy_targets(sampler):
                certificate = self.certify(sampler, certificate.samples)
                if callback:
                    callback(certificate, spent)
            if done:
                return certificate
            previous_chi2 = certificate.chi2
            latest = LATEST_IN_LISTS if self._lists else LATEST
            due = min(limit, spent / count * min(latest, max(SOONEST, certificate.chi2 / chi2)))

    def _solve_heavy_targets(self, sampler: Sampler) -> bool:
        """Solve for the potentials of heavy targets; return whether there are any."""
        mass = self.ascent.mass(self.targets)
        if not len(find_heavy(self.targets, mass)):
            return False
        x = sampler(-(-SAMPLES // self.targets.ranks))
        self.psi.copy_(solve_heavy_targets(x, self.targets, self.psi, self.ascent.cost, mass))
        return True

    def _make_step(self, sampler: Sampler, batch: int, cuda_graph: bool) -> Callable[[], None]:
        """Return a function that does one step on a fresh batch."""

        def device_step() -> None:
            self.ascent.device_step(sampler(batch), self.targets)

        ascend = make_graphed(device_step, self.targets) if cuda_graph else device_step

        def step() -> None:
            if self._lists:
                self.step(sampler(batch))
            else:
                self.ascent.host_step(self.targets)
                ascend()

        return step

    def certify(self, sampler: Sampler, samples: int | None = None, *, bound: bool = False) -> Certificate:
        """Certify the averaged potential on fresh samples, see :func:`certify`.

        Args:
            sampler: See :meth:`fit`.
            samples: The number of samples on all ranks; None for eight per target.
            bound: Also compute ``primal``.
        """
        count, block = max(3, -(-(samples or 8 * self.targets.total) // self.targets.ranks)), max(1, 4096 // self.targets.ranks)
        sizes = [min(block, count - start) for start in range(0, count, block)]
        return certify(map(self._check_shapes(sampler), sizes), self.targets, self.psi, self.ascent.cost, self.ascent.weights, bound=bound)

    def pairs(
        self, noise: Sampler, generator: Callable[[Tensor], Tensor] | None = None, *, batch_size: int = 256
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of noise and the targets that they are transported to, without end.

        A generator or a flow can be fitted to these pairs. All targets must be in this process.

        Args:
            noise: Maps n to noise (n, Z).
            generator: Maps noise to samples (n, D); None if the noise itself is transported.
            batch_size: The number of pairs.

        Yields:
            noise: (batch_size, Z).
            targets: (batch_size, D).
        """
        while True:
            z = noise(batch_size)
            with torch.no_grad():
                x = generator(z) if generator else z
            index, _ = assign(x, self.targets, self.psi, self.ascent.cost)
            yield z, self.targets.rows(index)

    def _check_shapes(self, sampler: Sampler) -> Sampler:
        """Wrap a sampler so that samples of another shape or type raise a ValueError."""

        def checked_sampler(n: int) -> Tensor:
            x, shape = sampler(n), (n, self.targets.shape[1])
            if x.shape != shape or x.dtype != self.targets.dtype:
                raise ValueError(f"expected the sampler to return {shape} of {self.targets.dtype}, got {tuple(x.shape)} of {x.dtype}")
            return x

        return checked_sampler

    def _certificate_size(self, goal: float) -> int:
        """Return how many samples make the interval of a chi2 at its goal about a quarter of it.

        A multiple of 64, so that it does not depend on the number of ranks.
        """
        return 64 * math.ceil(4 * NORMAL * math.sqrt(2 * self.targets.total) / goal / 64)

    def get_extra_state(self) -> dict[str, str]:
        """Return the hash of the targets."""
        return {"targets": self.targets.key}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Raise a ValueError if the state belongs to other targets."""
        if state["targets"] != self.targets.key:
            raise ValueError("the potential belongs to other targets (their hashes differ); fit one to these")
