"""Every way of assigning against double precision by brute force."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pgen.ot
from pgen.ot import COSTS, Targets, assign, assign_reference, cost_matrix, pair_cost


def brute_force(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, cost: str) -> torch.Tensor:
    """All values (B, N) in double precision."""
    difference = (x[:, None].double() - y[None].double()).numpy()
    if cost == "l1":
        values = np.abs(difference).sum(-1)
    else:
        values = np.square(difference).sum(-1)
        values = np.sqrt(values) if cost == "l2" else values
    return torch.from_numpy(values) - psi.double()


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, targets and psi of odd sizes; smooth or of few integers (so that values tie), empty in places, contiguous or not."""
    b, n, d = draw(st.integers(1, 70)), draw(st.integers(1, 300)), draw(st.integers(1, 40))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x, y, psi = (torch.rand(*shape, generator=random) for shape in ((b, d), (n, d), (n,)))
    if draw(st.booleans()):
        x, y, psi = (4 * x).floor(), (4 * y).floor(), (3 * psi).floor()
    if draw(st.booleans()):
        y = y * (torch.rand(n, 1, generator=random) < 0.7)  # some targets are blank
    if draw(st.booleans()):
        lit = draw(st.sampled_from([0.02, 0.05]))
        x, y = (torch.where(torch.rand(v.shape, generator=random) < lit, v, 0) for v in (x, y))
    if draw(st.booleans()):
        x, y, psi = x.T.contiguous().T, y.repeat(1, 2)[:, :d], psi.repeat_interleave(2)[::2]
    return x, y, psi


@pytest.mark.parametrize("cost", COSTS)
@given(problems())
@settings(max_examples=60, deadline=None)
def test_assignment_is_that_of_double_precision(cost: str, problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    x, y, psi = problem
    values = brute_force(x, y, psi, cost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls CSR tensors beta
        sparse = y.to_sparse_csr()
    for targets in (y, Targets(sparse)):
        index, value = assign(x, targets, psi, cost)
        chosen = values.gather(1, index[:, None])[:, 0]
        # Of values equal to the last bit of double precision either may be meant.
        assert torch.all(chosen <= values.min(1).values + 1e-13 * (1 + values.abs().max()))
        torch.testing.assert_close(value.double(), chosen, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cost", COSTS)
@given(problems())
@settings(max_examples=20, deadline=None)
def test_reference_agrees(cost: str, problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    x, y, psi = (part.double() for part in problem)
    values = brute_force(x, y, psi, cost)
    index, value = assign(x, y, psi, cost)
    torch.testing.assert_close(value, values.min(1).values, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values.gather(1, index[:, None])[:, 0], value, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pair_cost(x[:1], y[:1], cost), cost_matrix(x[:1], y[:1], cost)[0, :1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("lit", [1.0, 0.05])
def test_the_lowest_of_equal_targets_wins_whatever_the_threads(cost: str, lit: float) -> None:
    random = torch.Generator().manual_seed(0)
    y = torch.rand(40, 30, generator=random) * (torch.rand(40, 30, generator=random) < lit)
    x, many = torch.rand(9, 30, generator=random), y.repeat(25, 1)
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            index, _ = assign(x, many, torch.zeros(1000), cost)
            assert torch.equal(index, brute_force(x, y, torch.zeros(40), cost).argmin(1)), number
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("cost", COSTS)
def test_blocks_do_not_change_the_answer(cost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgen.ot import cpu

    random = torch.Generator().manual_seed(0)
    x, y, psi = (torch.randn(*shape, generator=random) for shape in ((5, 3), (500, 3), (500,)))
    for assignment in (assign, assign_reference):
        whole = assignment(x, y, psi, cost)
        monkeypatch.setattr(sys.modules["pgen.ot.reference"], "BLOCK", 35)
        monkeypatch.setattr(cpu, "BLOCK", 35)
        for a, b in zip(whole, assignment(x, y, psi, cost), strict=True):
            assert torch.equal(a, b)


def test_nearly_equal_targets_are_told_apart() -> None:
    """The squares of far-off points cancel in single precision; the answer must not."""
    x = torch.full((3, 50), 1000.0)
    y = x[:1].repeat(400, 1) + torch.linspace(1, 2, 400)[:, None] * 1e-3 * torch.arange(1, 51)
    for cost in COSTS:
        assert assign(x, y, torch.zeros(400), cost)[0].tolist() == [0, 0, 0]
        assert assign(x, y.flip(0), torch.zeros(400), cost)[0].tolist() == [399, 399, 399]


def test_not_a_number_is_told_in_the_value() -> None:
    y = torch.rand(20, 4)
    for cost in COSTS:
        index, value = assign(torch.full((2, 4), torch.nan), y, torch.zeros(20), cost)
        assert index.tolist() == [0, 0] and bool(value.isnan().all())
        index, value = assign(torch.rand(2, 4), y, torch.full((20,), torch.nan), cost)
        assert index.tolist() == [0, 0] and bool(value.isnan().all())


def test_autocast_does_not_round_the_assignment() -> None:
    random = torch.Generator().manual_seed(0)
    x, y, psi = (torch.randn(*shape, generator=random) for shape in ((200, 8), (300, 8), (300,)))
    for assignment in (assign, assign_reference):
        with torch.autocast("cpu", torch.bfloat16):
            found = assignment(x, y, psi, "sqeuclidean")
        for a, b in zip(found, assignment(x, y, psi, "sqeuclidean"), strict=True):
            assert torch.equal(a, b)


def test_example_of_the_package_runs_without_the_rest_of_pgen() -> None:
    example = textwrap.dedent(pgen.ot.__doc__.partition("::\n")[2])
    alone = "import sys; assert {name for name in sys.modules if name.startswith('pgen.')} == "
    alone += "{name for name in sys.modules if name.startswith('pgen.ot')}"
    done = subprocess.run([sys.executable, "-c", f"{example}\n{alone}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.split()[1]) < 0.3, done.stdout


def test_threads_compile_nothing() -> None:
    """Two threads that make Numba compile or load a function at once may crash: it must be ready before they begin."""
    code = """
import torch
from pgen.ot import COSTS, Targets, assign, cpu, kernels

def compiled():
    return [len(found.signatures) for found in (kernels.dense, kernels.products, kernels.sparse, kernels.decide_all)]

class Pool:
    def map(self, part, *bounds):
        before, results = compiled(), list(map(part, *bounds))
        assert compiled() == before
        return results

cpu._pool = lambda threads: Pool()
for size, lit in ((8, 1), (200, 1), (200, 0.01)):
    for cost in COSTS:
        assign(torch.rand(3, size), torch.rand(50, size) * (torch.rand(50, size) < lit), torch.zeros(50), cost)
assert all(compiled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_does_not_fit_is_refused() -> None:
    x, y, psi = torch.rand(2, 3), torch.rand(4, 3), torch.zeros(4)
    for arguments in ((x, y, psi, "l3"), (x[:, :2], y, psi, "l1"), (x, y, psi[:3], "l1"), (x, y[:0], psi[:0], "l1"), (x, y[0], psi, "l1")):
        with pytest.raises(ValueError, match="wanted"):
            assign(*arguments)
    index, value = assign(x[:0], y, psi, "l1")
    assert index.shape == value.shape == (0,)
