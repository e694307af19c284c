"""The transport core against POT and brute force."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.ot import COSTS, assign, certify, cost_matrix, pair_cost
from pgen.ot import assign as assign_function


@pytest.mark.parametrize("cost", COSTS)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 7), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_assign_equals_brute_force(cost: str, b: int, n: int, d: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, y, psi = (torch.randn(*shape, generator=random) for shape in ((b, d), (n, d), (n,)))
    full = cost_matrix(x, y, cost) - psi
    index, value = assign(x, y, psi, cost)
    torch.testing.assert_close(value, full.min(1).values)
    torch.testing.assert_close(full.gather(1, index[:, None])[:, 0], value)
    torch.testing.assert_close(pair_cost(x[:1], y[:1], cost), cost_matrix(x[:1], y[:1], cost)[0, :1], rtol=1e-3, atol=1e-3)


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    x, y, psi = torch.randn(5, 3), torch.randn(50, 3), torch.randn(50)
    whole = assign_function(x, y, psi, "l1")
    monkeypatch.setattr(sys.modules["pgen.ot.assign"], "BLOCK", 35)
    for a, b in zip(whole, assign_function(x, y, psi, "l1"), strict=True):
        assert torch.equal(a, b)


def test_autocast_does_not_round_the_assignment() -> None:
    random = torch.Generator().manual_seed(0)
    x, y, psi = (torch.randn(*shape, generator=random) for shape in ((200, 8), (300, 8), (300,)))
    with torch.autocast("cpu", torch.bfloat16):
        found = assign(x, y, psi, "sqeuclidean")
    for a, b in zip(found, assign(x, y, psi, "sqeuclidean"), strict=True):
        assert torch.equal(a, b)


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
