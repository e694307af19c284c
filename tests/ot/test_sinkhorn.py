"""Shortlists, and the potential found on them."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.ot import COSTS, SemiDiscreteOT, Targets, cost_matrix
from pgen.ot.solvers.shortlists import shortlist
from pgen.ot.solvers.sinkhorn import Sinkhorn
from tests.helpers.problems import Problem, brute_force, dense_and_sparse, problems


@given(problems(), st.sampled_from(COSTS), st.integers(1, 70), st.sampled_from([None, 300]))
@settings(max_examples=80, deadline=None)
def test_shortlists_are_the_nearest_targets(problem: Problem, cost: str, length: int, block: int | None) -> None:
    x, y, psi = problem
    values = brute_force(x, y, psi, cost)
    near = 2e-5 * (1 + float(values.abs().max())) if cost != "l2" else 2e-3 * (1 + float(values.abs().max()))
    for targets in dense_and_sparse(y):
        with pytest.MonkeyPatch.context() as patch:
            if block:
                patch.setattr("pgen.ot.solvers.shortlists.BLOCK_CPU", block)
                patch.setattr("pgen.ot.solvers.shortlists.ROWS_CPU", 9)
            index, found = shortlist(x, targets, psi, cost, length)
        assert index.shape == found.shape == (len(x), min(length, len(y)))
        assert all(len(set(row)) == len(row) for row in index.tolist())
        torch.testing.assert_close(found.double() - psi[index], values.gather(1, index), rtol=0, atol=near)
        # No other is nearer than the farthest of them.
        least = values.scatter(1, index, torch.inf).min(1).values
        assert torch.all(values.gather(1, index).max(1).values <= least + near)


def noise(scale: float, size: int):
    random = torch.Generator().manual_seed(0)
    return lambda n: scale * torch.randn(n, size, generator=random)


def test_shares_are_those_of_entropic_transport() -> None:
    """Under POT's potential every target has its mass of the samples."""
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 3, generator=random, dtype=torch.float64) for n in (400, 30))
    mass, width = torch.arange(1.0, 31, dtype=torch.float64) / 465, 0.3
    cost = cost_matrix(x, y, "sqeuclidean")
    source = torch.full((400,), 1 / 400, dtype=torch.float64)
    _, log = ot.sinkhorn(source, mass, cost, width, method="sinkhorn_log", numItermax=5000, log=True)
    lists = Sinkhorn(Targets(y), "sqeuclidean", torch.zeros(30, dtype=torch.float64), mass, 64)
    lists.step(x)
    lists.solve()
    torch.testing.assert_close(lists._frequency(width * log["log_v"], width), mass, rtol=1e-5, atol=0)


@pytest.mark.parametrize("cost", COSTS)
def test_few_samples_balance_the_hits(cost: str) -> None:
    """Stochastic ascent needs three times as many."""
    y = torch.randn(1000, 40, generator=torch.Generator().manual_seed(1))
    sampler, found = noise(1.0, 40), {}
    for length in (64, 0):
        solver = SemiDiscreteOT(y, cost, shortlist=length)
        solver.begin(sampler(256))
        for _ in range(16):
            solver.step(sampler(256))
        found[length] = solver.certify(sampler).chi2
    assert found[64] < 0.15 < 0.25 < found[0]


@pytest.mark.parametrize("length", [64, 0])
def test_masses_are_met_and_a_target_without_one_is_not_hit(length: int) -> None:
    y = torch.randn(90, 5, generator=torch.Generator().manual_seed(1))
    mass = torch.arange(90.0)
    solver = SemiDiscreteOT(y, "l1", weights=mass, shortlist=length)
    assert solver.fit(noise(1.0, 5), chi2=0.02, max_samples_per_target=500).chi2 <= 0.02
    found = solver.certify(noise(1.0, 5), 40_000)
    assert found.tv < 0.08 and found.hits[0] < 40


def test_equal_targets_and_few() -> None:
    for y in (torch.ones(100, 3), torch.zeros(1, 3), torch.randn(2, 3)):
        solver = SemiDiscreteOT(y, "l2")
        solver.fit(noise(1.0, 3), chi2=0.1, max_samples_per_target=20)
        assert solver.psi.isfinite().all()


def test_ascent_goes_on_from_the_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they have no more room, or help no more; and what they found is not lost."""
    y = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    for limit, value in (("sinkhorn.ROOM", 64 * 1000), ("semidiscrete.STALLED", 0.0)):
        seen: list[tuple[bool, int, float]] = []
        with monkeypatch.context() as patch:
            patch.setattr(f"pgen.ot.solvers.{limit}", value)
            solver = SemiDiscreteOT(y, "sqeuclidean", batch_size=100)
            callback = lambda found, _: seen.append((solver._lists is not None, solver.ascent.steps, found.chi2))  # noqa: E731, B023
            solver.fit(noise(1.5, 2), chi2=1e-9, max_samples_per_target=30, callback=callback)
        lists = [on for on, _, _ in seen]
        assert lists == sorted(lists, reverse=True) and lists[0] and not lists[-1]
        assert solver._lists is None and solver.ascent.steps > 4 * 8
        assert seen[-1][2] < 0.8 * seen[0][2]
        assert float(solver.psi.mean()) == pytest.approx(0, abs=1e-5)
