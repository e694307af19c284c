"""Semi-discrete optimal transport between a sampler and a finite set of targets. Needs torch and Numba, and nothing else of pgen."""

from pgen.ot.assign import assign
from pgen.ot.certificate import Certificate, certify
from pgen.ot.costs import COSTS, cost_matrix, pair_cost
from pgen.ot.reference import assign_reference
from pgen.ot.targets import Targets

__all__ = ["COSTS", "Certificate", "Targets", "assign", "assign_reference", "certify", "cost_matrix", "pair_cost"]
