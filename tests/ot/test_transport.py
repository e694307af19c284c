"""The transport core against POT and brute force."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from pgen.ot import COSTS, assign, certify, cost_matrix


@pytest.mark.parametrize("cost", COSTS)
def test_dual_ascent_reaches_emd2(cost: str) -> None:
    """Locks the sign: ascent along 1/N - P(hit) must rise to the exact cost, not to that of the farthest targets."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 3, generator=random).double(), torch.randn(20, 3, generator=random).double() + 0.5
    exact = ot.emd2([], [], cost_matrix(x, y, cost).numpy())
    psi, average = torch.zeros(20).double(), torch.zeros(20).double()
    for step in range(4000):
        index, _ = assign(x, y, psi, cost)
        psi = psi + 0.5 / (1 + step) ** 0.6 * (1 / 20 - torch.bincount(index, minlength=20) / 200) * 20
        average += (psi - average) * 2 / (step + 2)
    _, value = assign(x, y, average, cost)
    dual = float(value.mean() + average.mean())
    assert dual <= exact + 1e-9
    assert dual == pytest.approx(exact, rel=5e-3)


def test_certificate_equals_a_brute_force_count() -> None:
    random = np.random.default_rng(1)
    x, y, psi = (torch.from_numpy(random.normal(size=shape)) for shape in ((300, 2), (12, 2), (12,)))
    found = certify(x.split(70), y, psi, "l1")
    hits = [0] * 12
    for point in x.numpy():
        hits[int(np.argmin(np.abs(point - y.numpy()).sum(1) - psi.numpy()))] += 1
    assert found.hits.tolist() == hits
    pairs = sum(hits[hits_j] * (hits[hits_j] - 1) for hits_j in range(12))
    assert found.chi2 == pytest.approx(12 * pairs / (300 * 299) - 1)
    assert found.never_hit == hits.count(0)
    assert found.tv == pytest.approx(sum(abs(n / 300 - 1 / 12) for n in hits) / 2)
