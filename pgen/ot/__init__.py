"""Semi-discrete optimal transport between a sampler and a finite set of targets. Needs torch and nothing else of pgen."""

from pgen.ot.assign import assign
from pgen.ot.certificate import Certificate, certify
from pgen.ot.costs import COSTS, cost_matrix, pair_cost

__all__ = ["COSTS", "Certificate", "assign", "certify", "cost_matrix", "pair_cost"]
