"""Semi-discrete optimal transport between a sampler and a finite set of targets.

Needs torch and Numba, and of pgen only :mod:`pgen.utils.caches`. It finds the nearest target of
each sample under a potential, solves for the potential under which all targets are hit equally
often, and certifies how nearly they are::

    import torch
    from pgen.ot import SemiDiscreteOT

    random = torch.Generator().manual_seed(0)
    targets = torch.randn(1000, 40, generator=random)
    solver = SemiDiscreteOT(targets, "sqeuclidean")
    noise = lambda n: 2 * torch.randn(n, 40, generator=random)
    solver.fit(noise, chi2=0.2)
    certificate = solver.certify(noise, bound=True)
    print(f"chi2 {certificate.chi2:.3f} ± {certificate.chi2_interval:.3f}")
    print(f"cost between {certificate.dual:.2f} and {certificate.primal:.2f}")
    for z, y in solver.pairs(noise, batch_size=64):  # z is transported to y
        break
"""

from pgen.ot.assignment.assign import assign
from pgen.ot.assignment.reference import assign_reference
from pgen.ot.costs import COSTS, cost_matrix, pair_cost
from pgen.ot.solvers.certificate import Certificate, certify
from pgen.ot.solvers.dual_ascent import DualAscent
from pgen.ot.solvers.semidiscrete import SemiDiscreteOT
from pgen.ot.targets import Targets

__all__ = [
    "COSTS",
    "Certificate",
    "DualAscent",
    "SemiDiscreteOT",
    "Targets",
    "assign",
    "assign_reference",
    "certify",
    "cost_matrix",
    "pair_cost",
]
