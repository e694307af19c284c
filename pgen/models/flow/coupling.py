"""Which noise goes to which target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pgen.ot import Certificate, SemiDiscreteOT, Targets, assign, cost_matrix

COST = "sqeuclidean"
#: Most samples a target that a potential is solved with; fewer, but no fewer than the second number, where samples and targets would then
#: be compared in more than so many values: some ten minutes of one core.
MOST, FEWEST, WORK = 200.0, 16.0, 2e13
#: Steps that no run reaches, whose generators draw targets: those of a step itself have drawn its noise.
ANY = 2 * 10**15


class Coupling(nn.Module):
    """kind: ``independent``, any target is as likely; ``minibatch``, random targets, as many as the batch has samples, each to one sample,
    so that the sum of squared distances is least; ``semidiscrete``, the target that is nearest under the potential psi of the transport
    from all noise to all targets (:mod:`pgen.ot`). count: targets here. chi2: how evenly that hits them.
    """

    psi: Tensor

    def __init__(self, kind: str, count: int, chi2: float) -> None:
        super().__init__()
        self.kind, self.chi2 = kind, chi2
        self.register_buffer("psi", torch.zeros(count))

    def begin(self, targets: Targets, noise: Callable[..., Tensor], trainer: Any) -> Certificate | None:
        """Solve for the potential, where there is one, and certify it. noise: n and a generator to (n, D), scaled as the targets are."""
        if self.kind != "semidiscrete":
            return None

        def sampler(step: int) -> Callable[[int], Tensor]:
            """This rank's rows of a noise that is the same however many ranks there are."""
            random = trainer.generator(step, common=True)
            return lambda n: noise(n * targets.ranks, generator=random)[targets.rank * n : (targets.rank + 1) * n]

        solver, limit = SemiDiscreteOT(targets, COST), min(MOST, max(FEWEST, WORK / (targets.total**2 * targets.shape[1])))
        most = int(limit * targets.total)

        def watch(found: Certificate, spent: int) -> None:
            trainer.log(f"solving the coupling: chi2 {found.chi2:.2g}, wanted {self.chi2:g}, after {spent} of at most {most} samples")

        solver.fit(sampler(-2), chi2=self.chi2, most=limit, watch=watch)
        self.psi.copy_(solver.psi)
        found = solver.certify(sampler(-3))
        if found.chi2 - found.chi2_interval > self.chi2:
            reached = f"chi2 {found.chi2:.2g} ± {found.chi2_interval:.1g}, above --chi2 {self.chi2:g}"
            missed = f"{found.never_hit:,} of {targets.distinct:,} never"
            trainer.log(
                f"warning: the coupling ends at {reached}: noise hits some targets more often than others, and {missed}; "
                "--coupling minibatch hits all alike"
            )
        return found

    @torch.no_grad()
    def targets_of(self, x: Tensor, targets: Targets, trainer: Any) -> Tensor:
        """Of noise x (n, D), scaled as the targets are, the numbers of its targets (n,)."""
        if self.kind == "semidiscrete":
            return assign(x, targets, self.psi, COST)[0]
        random = trainer.generator(ANY + trainer.step, common=True)
        index = torch.randint(targets.total, (trainer.batch_size,), generator=random, device=trainer.device)
        if self.kind == "minibatch":
            from scipy.optimize import linear_sum_assignment  # not at the top: sampling needs no SciPy

            whole, rows = trainer.gather(x), trainer.gather(targets.rows(trainer.local_rows(index)))
            _, order = linear_sum_assignment(cost_matrix(whole, rows, COST).cpu().numpy())
            index = index[torch.from_numpy(order).to(index.device)]
        return trainer.local_rows(index)
