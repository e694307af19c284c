"""Precision, recall, density and coverage of features.

Kynkaanniemi et al., arXiv:1904.06991, and Naeem et al., arXiv:2002.09797.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Ints, Measurement, MetricResult, bootstrap, draw_equal, interval_around

Floats = npt.NDArray[np.float64]

NEAREST = 5  #: the radius of an image's ball is the distance to this neighbour
LIMIT = 5000  #: maximum number of images of each set
ROUNDS = 40
BLOCK = 1024


class Prdc(NamedTuple):
    """Values of each image; the metrics are their means.

    Attributes:
        precision: (m,) of generated images.
        recall: (n,) of real images.
        density: (m,) of generated images.
        coverage: (n,) of real images.
    """

    precision: Floats
    recall: Floats
    density: Floats
    coverage: Floats


def prdc(sets: EvaluationSets) -> MetricResult:
    """Compute precision, recall, density and coverage.

    The ball of an image reaches to its fifth neighbour. Precision is the fraction of generated
    images in the ball of a real one, recall the fraction of real images in the ball of a generated
    one, and coverage the fraction of real images whose ball has a generated one. Density is the
    number of real images' balls that a generated image lies in, relative to that of a real image.
    """
    rng = sets.rng("prdc")
    generated, train, held_out = draw_equal(sets.features, rng, LIMIT)
    n = len(train)
    value, floor = _means(held_out, generated, sets.device), _means(held_out, train, sets.device)

    def difference(g: Ints, t: Ints, h: Ints) -> Floats:
        return _means(held_out[h], generated[g], sets.device) - _means(held_out[h], train[t], sets.device)

    excess = bootstrap(difference, n, rng, ROUNDS, halves=True)
    measures = tuple(
        Measurement(
            name=name,
            value=float(value[k]),
            floor=float(floor[k]),
            interval=interval_around(value[k], excess[:, k], 0.0, np.inf if name == "density" else 1.0),
            n=n,
            better="high",
        )
        for k, name in enumerate(Prdc._fields)
    )
    return MetricResult("prdc", measures, {"nearest": NEAREST, "limit": LIMIT, "features": train.shape[1]})


def _means(real: Floats, generated: Floats, device: torch.device) -> Floats:
    return np.array([values.mean() for values in compute_prdc(real, generated, device)])


def compute_prdc(real: Floats, generated: Floats, device: torch.device, k: int = NEAREST) -> Prdc:
    """Compare real features (n, D) and generated ones (m, D) in blocks, without an n x m matrix.

    A ball includes its border. If more than k images are equal, as blank ones are, its radius is 0
    and it has only these. Without ties it has k real images besides its centre, and all four values
    are those of Naeem et al. Density divides by the number it really has, so that ties do not
    inflate it.
    """
    r, g = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (real, generated))
    (radius_real, members), (radius_generated, _) = _compute_balls(r, k), _compute_balls(g, k)
    density, is_recalled, nearest = torch.zeros(len(g), dtype=torch.float64, device=device), [], []
    for block, radius, number in zip(r.split(BLOCK), radius_real.split(BLOCK), members.split(BLOCK), strict=True):
        distance = _distances(block, g)
        density += ((distance <= radius[:, None]) / number[:, None]).sum(0)
        is_recalled.append((distance <= radius_generated).any(1))
        nearest.append(distance.min(1).values)
    is_covered = torch.cat(nearest) <= radius_real
    values = (density > 0, torch.cat(is_recalled), density, is_covered)
    return Prdc(*(value.double().cpu().numpy() for value in values))


def _compute_balls(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each row's distance (n,) to its k-th neighbour, and the rows (n,) within it."""
    k = min(k, len(rows) - 1)
    radii, members = [], []
    for block in rows.split(BLOCK):
        distance = _distances(block, rows)
        radii.append(distance.kthvalue(k + 1, dim=1).values)
        members.append((distance <= radii[-1][:, None]).sum(1) - 1)
    return torch.cat(radii), torch.cat(members)


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute distances, exactly 0 between equal rows, unlike those by a matrix product."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
