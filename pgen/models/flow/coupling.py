"""Couplings: which noise is paired with which target."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pgen.ot import Certificate, SemiDiscreteOT, Targets, assign, cost_matrix
from pgen.plugins.protocols import Draw, Trainer

COST = "sqeuclidean"
#: Most samples per target to solve a potential with; fewer, but at least the second number, if more
#: values than the third would have to be compared: some ten minutes of one core.
MOST, FEWEST, WORK = 200.0, 16.0, 2e13
#: Step numbers that no run reaches, whose generators draw targets: a step's own drew its noise.
TARGET_STEPS = 2 * 10**15


class Coupling(nn.Module):
    """Pairs noise with targets.

    Kinds: ``independent``, where each target is equally likely; ``minibatch``, where each sample of
    a batch gets one of as many random targets so that the sum of squared distances is smallest;
    ``semidiscrete``, where noise gets the nearest target under the potential psi of the transport
    from all noise to all targets (:mod:`pgen.ot`).

    Attributes:
        kind: One of these.
        chi2: The goal of the semi-discrete solver.
        psi: (N,) potential of the local targets.
    """

    psi: Tensor

    def __init__(self, kind: str, count: int, chi2: float) -> None:
        super().__init__()
        self.kind, self.chi2 = kind, chi2
        self.register_buffer("psi", torch.zeros(count))

    def begin(self, targets: Targets, noise: Draw, trainer: Trainer) -> Certificate | None:
        """Solve for the potential, if the kind has one, and certify it.

        Args:
            targets: The targets.
            noise: Draws noise (n, D), scaled as the targets are.
            trainer: The training loop.
        """
        if self.kind != "semidiscrete":
            return None
        solver, limit = SemiDiscreteOT(targets, COST), min(MOST, max(FEWEST, WORK / (targets.total**2 * targets.shape[1])))
        most = int(limit * targets.total)

        def report(certificate: Certificate, spent: int) -> None:
            trainer.log(f"solving the coupling: chi2 {certificate.chi2:.2g} (goal {self.chi2:g}) after {spent} of at most {most} samples")

        solver.fit(
            _sampler(-2, targets, noise, trainer),
            chi2=self.chi2,
            max_samples_per_target=limit,
            callback=report,
        )
        self.psi.copy_(solver.psi)
        certificate = solver.certify(_sampler(-3, targets, noise, trainer))
        if certificate.chi2 - certificate.chi2_interval > self.chi2:
            reached = f"chi2 {certificate.chi2:.2g} ± {certificate.chi2_interval:.1g}, above --chi2 {self.chi2:g}"
            missed = f"{certificate.never_hit:,} of {targets.distinct:,} never"
            trainer.log(
                f"warning: the coupling ends at {reached}: noise hits some targets more often than others, and {missed}; "
                "--coupling minibatch hits all equally often"
            )
        return certificate

    @torch.no_grad()
    def targets_of(self, x: Tensor, targets: Targets, trainer: Trainer) -> Tensor:
        """Choose the target of each noise vector x (n, D), scaled as the targets are.

        Returns:
            (n,) global indices.
        """
        if self.kind == "semidiscrete":
            return assign(x, targets, self.psi, COST)[0]
        generator = trainer.generator(TARGET_STEPS + trainer.step, common=True)
        index = torch.randint(targets.total, (trainer.batch_size,), generator=generator, device=trainer.device)
        if self.kind == "minibatch":
            from scipy.optimize import linear_sum_assignment  # not at the top: sampling needs no SciPy

            whole, rows = trainer.gather(x), trainer.gather(targets.rows(trainer.local_rows(index)))
            _, order = linear_sum_assignment(cost_matrix(whole, rows, COST).cpu().numpy())
            index = index[torch.from_numpy(order).to(index.device)]
        return trainer.local_rows(index)


def _sampler(step: int, targets: Targets, noise: Draw, trainer: Trainer) -> Callable[[int], Tensor]:
    """Return a sampler of this rank's rows of noise that is the same for any number of ranks."""
    generator = trainer.generator(step, common=True)

    def sample(n: int) -> Tensor:
        return noise(n * targets.ranks, generator=generator)[targets.rank * n : (targets.rank + 1) * n]

    return sample
