"""Targets that lie elsewhere than the samples: the answer is the same as if they lay beside them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from pgen.ot import COSTS, Targets, assign, certify
from pgen.ot.assignment import streaming as stream
from pgen.ot.assignment.assign import nearest
from tests.helpers.problems import Problem, assert_exact, brute_force, dense_and_sparse, problems


@pytest.mark.parametrize("cost", COSTS)
@given(problems())
@settings(max_examples=25, deadline=None)
def test_blocks_do_not_change_the_answer(cost: str, problem: Problem) -> None:
    x, y, psi = problem
    for targets in dense_and_sparse(y):
        whole = nearest(x, targets, psi, cost)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "BLOCK", 1000)
            parts = stream.assign_streamed(x, targets, psi, cost, nearest)
        for a, b in zip(whole, parts, strict=True):
            assert torch.equal(a, b)


def test_blocks_are_of_the_size_asked_for_and_hold_all_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 1000)
    y = torch.rand(300, 10) * (torch.rand(300, 1) < 0.5)
    for targets in dense_and_sparse(y):
        parts = [part for _, part in stream._iter_blocks(targets, torch.device("cpu"))]
        assert torch.equal(torch.cat([part.dense for part in parts]), y)
        for part in parts:
            assert part.sparse == targets.sparse
            assert (8 * len(part.csr[1]) if part.sparse else 4 * part.dense.numel()) <= 1000 + 8 * 10
        for cost in COSTS:
            torch.testing.assert_close(torch.cat([part.norms(cost) for part in parts]), targets.norms(cost))


def test_not_a_number_is_told_in_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 64)
    x = torch.tensor([[torch.nan, 1.0], [1.0, 2.0]])
    index, value = stream.assign_streamed(x, Targets(torch.rand(20, 2)), torch.zeros(20), "l1", nearest)
    assert index[0] == 0 and value.isnan().tolist() == [True, False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("pinned", [True, False])
def test_samples_on_a_gpu_meet_targets_on_the_host(cost: str, pinned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 2**16)
    x, y, psi = torch.rand(300, 60), torch.rand(20_000, 60) * (torch.rand(20_000, 1) < 0.5), torch.rand(20_000)
    expected = brute_force(x, y, psi, cost)
    for targets in dense_and_sparse(y.pin_memory() if pinned else y):
        for potential in (psi, psi.cuda()):
            found = assign(x.cuda(), targets, potential, cost)
            assert found[0].is_cuda and found[1].is_cuda
            assert_exact(found, expected)
        assert certify([x.cuda()], targets, psi, cost).samples == 300
    assert_exact(assign(x, Targets(y.cuda()), psi, cost), expected)
