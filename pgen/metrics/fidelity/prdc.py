"""Precision, recall, density and coverage of features.

Kynkaanniemi et al., arXiv:1904.06991, and Naeem et al., arXiv:2002.09797.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import MetricResult, draw_equal
from pgen.metrics.significance import Ints, PooledDistance, compare

Floats = npt.NDArray[np.float64]

NEAREST = 5  #: the radius of an image's ball is the distance to this neighbour
LIMIT = 5000  #: maximum number of images of each set
BLOCK = 1024
#: Neighbours kept of each image of two sets. Among so many, a random half without NEAREST images of
#: one set has a probability of 1e-11.
NEIGHBOURS = 64
#: A difference that does not matter.
TOLERANCE = 0.05
NAMES = ("precision", "recall", "density", "coverage")


def prdc(sets: EvaluationSets) -> MetricResult:
    """Compute precision, recall, density and coverage.

    The ball of an image reaches to its fifth neighbour. Precision is the fraction of generated
    images in the ball of a real one, recall the fraction of real images in the ball of a generated
    one, and coverage the fraction of real images whose ball has a generated one. Density is the
    number of real images' balls that a generated image lies in, relative to that of a real image.
    """
    rng = sets.rng("prdc")
    drawn = draw_equal(sets.features, rng, LIMIT)
    n, size = drawn.train.shape
    compared = compare(
        prdc_distances(np.concatenate(drawn[:2]), drawn.held_out, sets.device), n, rng, permutations=sets.permutations, rounds=0
    )
    measures = tuple(
        compared.measurement(k, name, better="high", highest=math.inf if name == "density" else 1.0, tolerance=TOLERANCE)
        for k, name in enumerate(NAMES)
    )
    return MetricResult("prdc", measures, {"nearest": NEAREST, "limit": LIMIT, "features": size})


def prdc_distances(pool: Floats, real: Floats, device: torch.device, k: int = NEAREST) -> PooledDistance:
    """Return a function that computes precision, recall, density and coverage, to (R, 4).

    A ball includes its border. If more than k images are equal, as blank ones are, its radius is 0
    and it has only these. Without ties it has k real images besides its centre, and all four values
    are those of Naeem et al. Density divides by the number it really has, so that ties do not
    inflate it.

    Args:
        pool: (N, D) features of all images that are not the reference.
        real: (n, D) features of the reference, for all pairs of sets.
        device: Device of the distances.
        k: Neighbour that a ball reaches to.

    Returns:
        A function of distinct indices (R, m) into the pool; its second argument is not used.
    """
    others, reference = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (pool, real))
    nearest, neighbours = _find_neighbours(others, min(NEIGHBOURS, len(others)))
    radius_real, members = _compute_balls(reference, k)
    density = np.zeros(len(pool))
    pairs: list[tuple[Ints, Ints, Floats]] = []
    covers: list[tuple[Ints, Ints]] = []
    widest = torch.from_numpy(nearest[:, -1]).to(device)
    for start in range(0, len(real), BLOCK):
        distance = _distances(reference[start : start + BLOCK], others)
        is_inside = distance <= radius_real[start : start + BLOCK, None]
        density += (is_inside / members[start : start + BLOCK, None]).sum(0).cpu().numpy()
        covers.append(_indices(is_inside, start))
        row, column = _indices(distance <= widest, start)
        pairs.append((row, column, distance.cpu().numpy()[row - start, column]))
    covered, covering = map(np.concatenate, zip(*covers, strict=True))
    recalled, recalling, apart = map(np.concatenate, zip(*pairs, strict=True))

    def distance_of(indices: Ints) -> list[float]:
        is_member = np.zeros(len(pool), bool)
        is_member[indices] = True
        reached = np.cumsum(is_member[neighbours], 1) > k  # an image is its own nearest neighbour
        last = np.where(reached.any(1), reached.argmax(1), reached.shape[1] - 1)
        radius = np.take_along_axis(nearest, last[:, None], 1)[:, 0]
        is_recalled = is_member[recalling] & (apart <= radius[recalling])
        return [
            float((density[indices] > 0).mean()),
            _fraction(recalled[is_recalled], len(real)),
            float(density[indices].mean()),
            _fraction(covered[is_member[covering]], len(real)),
        ]

    return lambda a, b: np.array([distance_of(indices) for indices in a])


def _fraction(indices: Ints, n: int) -> float:
    """Return the fraction of n images that are among the indices."""
    return float((np.bincount(indices, minlength=n) > 0).mean())


def _indices(mask: torch.Tensor, start: int) -> tuple[Ints, Ints]:
    row, column = np.nonzero(mask.cpu().numpy())
    return row + start, column


def _find_neighbours(rows: torch.Tensor, count: int) -> tuple[Floats, Ints]:
    """Return distances and indices (n, count) of the nearest rows of each, itself included."""
    nearest = [_distances(block, rows).topk(count, largest=False) for block in rows.split(BLOCK)]
    values, indices = (torch.cat(parts).cpu().numpy() for parts in zip(*nearest, strict=True))
    return values, indices


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
