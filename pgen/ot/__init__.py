"""Semi-discrete optimal transport between a sampler and a finite set of targets. Needs torch and Numba, and nothing else of pgen.

Which target is nearest under a potential, and how evenly the targets are hit::

    import torch
    from pgen.ot import Targets, assign, certify

    targets, psi = Targets(torch.randn(1000, 40)), torch.zeros(1000)
    index, value = assign(torch.randn(64, 40), targets, psi, "sqeuclidean")
    print(certify((torch.randn(500, 40) for _ in range(16)), targets, psi, "sqeuclidean").chi2)
"""

from pgen.ot.assign import assign
from pgen.ot.certificate import Certificate, certify
from pgen.ot.costs import COSTS, cost_matrix, pair_cost
from pgen.ot.reference import assign_reference
from pgen.ot.targets import Targets

__all__ = ["COSTS", "Certificate", "Targets", "assign", "assign_reference", "certify", "cost_matrix", "pair_cost"]
