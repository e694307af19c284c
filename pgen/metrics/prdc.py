"""Precision, recall, density and coverage on features: Kynkaanniemi et al., arXiv:1904.06991, and Naeem et al., arXiv:2002.09797."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pgen.metrics.finding import Finding, Ints, Measure, bootstrap, draw, interval_of
from pgen.metrics.sets import Sets

Floats = npt.NDArray[np.float64]

NEAREST = 5  #: neighbours that span a ball around an image
LIMIT = 5000  #: images of each set at most
ROUNDS = 40
BLOCK = 1024


class Prdc(NamedTuple):
    """Of each image, (n,): precision and density of generated ones, recall and coverage of real ones. Their means are the metrics."""

    precision: Floats
    recall: Floats
    density: Floats
    coverage: Floats


def prdc(sets: Sets) -> Finding:
    """Precision: generated images within a ball of a real one, which reaches to its fifth neighbour. Recall: real ones within a ball of a
    generated one. Density: in how many balls, over five. Coverage: real ones whose ball holds a generated one."""
    rng = sets.rng("prdc")
    generated, train, held_out = draw(sets.features, rng, LIMIT)
    n = len(train)
    found, floor = _means(held_out, generated, sets.device), _means(held_out, train, sets.device)

    def difference(g: Ints, t: Ints, h: Ints) -> Floats:
        return _means(held_out[h], generated[g], sets.device) - _means(held_out[h], train[t], sets.device)

    above = bootstrap(difference, n, rng, ROUNDS, halves=True)
    measures = tuple(
        Measure(
            name, float(found[k]), float(floor[k]), interval_of(found[k], above[:, k], 0.0, np.inf if name == "density" else 1.0), n, "high"
        )
        for k, name in enumerate(Prdc._fields)
    )
    return Finding("prdc", measures, {"nearest": NEAREST, "limit": LIMIT, "features": train.shape[1]})


def _means(real: Floats, generated: Floats, device: torch.device) -> Floats:
    return np.array([each.mean() for each in of(real, generated, device)])


def of(real: Floats, generated: Floats, device: torch.device, k: int = NEAREST) -> Prdc:
    """Rows of features (n, D) and (m, D), in blocks: never an n x m matrix."""
    r, g = (torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in (real, generated))
    reach_real, reach_generated = _reach(r, k), _reach(g, k)
    inside, recalled, nearest = torch.zeros(len(g), device=device), [], []
    for part, reach in zip(r.split(BLOCK), reach_real.split(BLOCK), strict=True):
        distance = torch.cdist(part, g)
        inside += (distance < reach[:, None]).sum(0)
        recalled.append((distance < reach_generated).any(1))
        nearest.append(distance.min(1).values)
    balls = inside.cpu().double().numpy()
    covered = torch.cat(nearest) < reach_real
    return Prdc((balls > 0).astype(float), torch.cat(recalled).cpu().double().numpy(), balls / k, covered.cpu().double().numpy())


def _reach(rows: torch.Tensor, k: int) -> torch.Tensor:
    """(n,) of each row the distance to its k-th nearest other."""
    k = min(k, len(rows) - 1)
    return torch.cat([torch.cdist(part, rows).kthvalue(k + 1, dim=1).values for part in rows.split(BLOCK)])
