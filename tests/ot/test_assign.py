"""Every way of assigning against double precision by brute force."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pgen.ot
from pgen.ot import COSTS, assign, assign_reference, cost_matrix, pair_cost
from tests.helpers.problems import Problem, assert_exact, brute_force, dense_and_sparse, problems


@pytest.mark.parametrize("cost", COSTS)
@given(problems(), st.booleans(), st.sampled_from([1, 128]))
@settings(max_examples=60, deadline=None)
def test_assignment_is_that_of_double_precision(cost: str, problem: Problem, tiles: bool, many: int) -> None:
    x, y, psi = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgen.ot.assignment.cpu.MANY", many)
        patch.setattr("pgen.ot.assignment.cpu.WIDE", 1)
        patch.setattr("pgen.ot.assignment.cpu._tiles_are_faster", lambda: tiles)
        for targets in dense_and_sparse(y):
            assert_exact(assign(x, targets, psi, cost), brute_force(x, y, psi, cost))


@pytest.mark.parametrize("cost", COSTS)
@given(problems())
@settings(max_examples=20, deadline=None)
def test_reference_agrees(cost: str, problem: Problem) -> None:
    x, y, psi = (part.double() for part in problem)
    values = brute_force(x, y, psi, cost)
    index, value = assign(x, y, psi, cost)
    torch.testing.assert_close(value, values.min(1).values, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values.gather(1, index[:, None])[:, 0], value, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(pair_cost(x[:1], y[:1], cost), cost_matrix(x[:1], y[:1], cost)[0, :1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("lit", [1.0, 0.05])
@pytest.mark.parametrize("shared", [1, 128])
def test_the_lowest_of_equal_targets_wins_whatever_the_threads(cost: str, lit: float, shared: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgen.ot.assignment.cpu.MANY", shared)
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
    from pgen.ot.assignment import cpu

    random = torch.Generator().manual_seed(0)
    x, y, psi = (torch.randn(*shape, generator=random) for shape in ((5, 3), (500, 3), (500,)))
    for assignment in (assign, assign_reference):
        whole = assignment(x, y, psi, cost)
        monkeypatch.setattr(sys.modules["pgen.ot.assignment.reference"], "BLOCK", 35)
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


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("many", [1, 128])
@pytest.mark.parametrize("tiles", [True, False])
def test_what_cannot_be_nearest_is_not(cost: str, many: int, tiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it hide what can, whether it has a share of the targets to itself or one of them."""
    for name, value in (("MANY", many), ("WIDE", 1), ("_tiles_are_faster", lambda: tiles)):
        monkeypatch.setattr(f"pgen.ot.assignment.cpu.{name}", value)
    random = torch.Generator().manual_seed(0)
    x, y = torch.rand(9, 30, generator=random), torch.rand(50, 30, generator=random)
    y = y * (y > 0.5)
    for psi_of, value in ((slice(25, 50), -torch.inf), (slice(0, 25), -torch.inf), (slice(7, 8), torch.nan), (slice(49, 50), torch.nan)):
        psi = torch.zeros(50)
        psi[psi_of] = value
        for broken in (None, 0, 30, 49):
            targets = y.clone()
            if broken is not None:
                targets[broken, 3] = torch.nan
            values = brute_force(x, targets, psi, cost).nan_to_num(torch.inf, torch.inf)
            for each in dense_and_sparse(targets):
                index, found = assign(x, each, psi, cost)
                assert index.tolist() == values.argmin(1).tolist(), (psi_of, broken, each.sparse)
                torch.testing.assert_close(found.double(), values.min(1).values, rtol=1e-6, atol=1e-6)
            index, _ = assign(x.double(), targets.double(), psi.double(), cost)
            assert index.tolist() == values.argmin(1).tolist(), (psi_of, broken)


@pytest.mark.parametrize("cost", COSTS)
def test_the_smallest_numbers_are_told_apart(cost: str) -> None:
    """Their squares are none in single precision."""
    random = torch.Generator().manual_seed(0)
    x, y = (1e-22 * torch.rand(n, 24, generator=random) for n in (20, 60))
    for targets in dense_and_sparse(y * (torch.rand(60, 24, generator=random) < 0.3)):
        values = brute_force(x, targets.dense, torch.zeros(60), cost)
        assert assign(x, targets, torch.zeros(60), cost)[0].tolist() == values.argmin(1).tolist()


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
    alone += "{name for name in sys.modules if name.startswith('pgen.ot') or name in ('pgen._version', 'pgen.utils', 'pgen.utils.caches')}"
    done = subprocess.run([sys.executable, "-c", f"{example}\n{alone}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.split()[1]) < 0.3, done.stdout


def test_threads_compile_nothing() -> None:
    """Two threads that make Numba compile or load a function at once may crash: it must be ready before they begin."""
    code = """
import torch
from pgen.ot import COSTS, Targets, assign
from pgen.ot.assignment import cpu, numba_kernels as kernels

def compiled():
    return [len(found.signatures) for found in (kernels.scan_dense, kernels.scan_products, kernels.scan_sparse, kernels.decide_all)]

class Pool:
    def map(self, part, *bounds):
        before, results = compiled(), list(map(part, *bounds))
        assert compiled() == before
        return results

cpu._pool = lambda threads: Pool()
for tiles, cpu.MANY in ((True, 128), (True, 1), (False, 1)):
    cpu._tiles_are_faster = lambda: tiles
    for size, lit in ((8, 1), (200, 1), (200, 0.01)):
        for cost in COSTS:
            assign(torch.rand(3, size), torch.rand(50, size) * (torch.rand(50, size) < lit), torch.zeros(50), cost)
assert all(compiled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_costs_do_not_depend_on_whether_their_kernels_come_from_a_cache(tmp_path: Path) -> None:
    """The first run on a machine, for which Numba compiles them, is to give the same bytes as the second."""
    code = """
import hashlib, torch
from pgen.ot import COSTS, Targets
from pgen.ot.assignment.cpu import costs_cpu

random = torch.Generator().manual_seed(0)
for size in (7, 64, 259):
    x, y = torch.randn(77, size, generator=random), torch.randn(43, size, generator=random)
    lit = Targets((y * (y > 0.5)).to_sparse_csr())
    for targets, costs in ((Targets(y), COSTS[:1]), (lit, COSTS)):
        for cost in costs:
            print(size, targets.sparse, cost, hashlib.sha256(costs_cpu(x, targets, cost, 3, 40).numpy().tobytes()).hexdigest())
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") == 12
    assert list(tmp_path.rglob("*.nbc"))


def test_threads_are_left_as_they_were() -> None:
    """torch's number of threads in those that the caller begins later; and ours in a child, where they do not live on."""
    code = """
import os, threading
import torch
torch.set_num_threads(2)
from pgen.ot import assign
problem = torch.rand(3, 8), torch.rand(50, 8), torch.zeros(50)
index, _ = assign(*problem)
found = []
thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
thread.start()
thread.join()
assert found == [torch.get_num_threads()] == [2], found
child = os.fork()
if not child:
    os._exit(0 if torch.equal(assign(*problem)[0], index) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_does_not_fit_is_refused() -> None:
    x, y, psi = torch.rand(2, 3), torch.rand(4, 3), torch.zeros(4)
    for arguments in (
        (x, y, psi, "l3"), (x[:, :2], y, psi, "l1"), (x, y, psi[:3], "l1"), (x, y[:0], psi[:0], "l1"), (x, y[0], psi, "l1"),
        (x, y, psi.double(), "l1"), (x.double(), y, psi, "l1"), (x.half(), y.half(), psi.half(), "l1"), (x, y.numpy(), psi, "l1"),
        (x[:, :0], y[:, :0], psi, "l1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            assign(*arguments)
    for function in (cost_matrix, pair_cost):
        with pytest.raises(ValueError, match="one of l1"):
            function(x, x, "L1")
    index, value = assign(x[:0], y, psi, "l1")
    assert index.shape == value.shape == (0,)


@given(problems(), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_rows_are_the_targets_themselves(problem: Problem, seed: int) -> None:
    _, y, _ = problem
    index = torch.randint(0, len(y), (seed % 9,), generator=torch.Generator().manual_seed(seed))
    for targets in dense_and_sparse(y):
        assert torch.equal(targets.rows(index), y[index])
