"""Precision, recall, density and coverage on features: Kynkaanniemi et al., arXiv:1904.06991, and Naeem et al., arXiv:2002.09797."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Ints, Measure, MetricResult, bootstrap, draw, interval_of

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


def prdc(sets: EvaluationSets) -> MetricResult:
    """Precision: generated images within a ball of a real one, which reaches to its fifth neighbour. Recall: real ones within a ball of a
    generated one. Density: in how many balls of real ones a generated one lies, over how many real ones do. Coverage: real ones whose ball
    holds a generated one."""
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
    return MetricResult("prdc", measures, {"nearest": NEAREST, "limit": LIMIT, "features": train.shape[1]})


def _means(real: Floats, generated: Floats, device: torch.device) -> Floats:
    return np.array([each.mean() for each in of(real, generated, device)])


def of(real: Floats, generated: Floats, device: torch.device, k: int = NEAREST) -> Prdc:
    """Compare rows of features (n, D) and (m, D), in blocks: never an n x m matrix.

    A ball holds its border. Where more than k images are equal, as blank ones are, its radius is 0, and
    it holds just these. Without ties it has k real images besides its centre, and all four values are
    those of Naeem et al.; density divides by the number it really has, so that ties do not inflate it.
    """
    r, g = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (real, generated))
    (radius_real, held), (radius_generated, _) = _balls(r, k), _balls(g, k)
    density, recalled, nearest = torch.zeros(len(g), dtype=torch.float64, device=device), [], []
    for part, radius, number in zip(r.split(BLOCK), radius_real.split(BLOCK), held.split(BLOCK), strict=True):
        distance = _distances(part, g)
        density += ((distance <= radius[:, None]) / number[:, None]).sum(0)
        recalled.append((distance <= radius_generated).any(1))
        nearest.append(distance.min(1).values)
    covered = torch.cat(nearest) <= radius_real
    values = (density > 0, torch.cat(recalled), density, covered)
    return Prdc(*(value.double().cpu().numpy() for value in values))


def _balls(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) of each row the distance to its k-th nearest other, and how many others are as near."""
    k = min(k, len(rows) - 1)
    radii, held = [], []
    for part in rows.split(BLOCK):
        distance = _distances(part, rows)
        radii.append(distance.kthvalue(k + 1, dim=1).values)
        held.append((distance <= radii[-1][:, None]).sum(1) - 1)
    return torch.cat(radii), torch.cat(held)


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Distances that are exactly 0 between equal rows, which those by a matrix product are not."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
