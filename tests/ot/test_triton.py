"""The GPU kernels against double precision: on a GPU where there is one, else in Triton's interpreter (tests/conftest.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pgen.ot import COSTS, Targets, assign
from tests.helpers.problems import Problem, assert_exact, brute_force, dense_and_sparse, problems

if find_spec("triton") is None and "CI" not in os.environ:
    pytest.skip("Triton is not installed, the GPU kernels are not tested", allow_module_level=True)

from pgen.ot.assignment import cuda

pytestmark = pytest.mark.gpu
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
on_a_gpu = pytest.mark.skipif(not GPU, reason="no GPU")


def assign_on_device(x: torch.Tensor, targets: Targets, psi: torch.Tensor, cost: str) -> tuple[torch.Tensor, torch.Tensor]:
    return cuda.assign_cuda(x.to(DEVICE), targets.block(0, len(targets), DEVICE), psi.to(DEVICE), cost)


def cut_to_tf32(values: np.ndarray) -> np.ndarray:
    return (values.view(np.int32) & ~0x1FFF).view(np.float32)


@pytest.fixture(autouse=True, scope="module")
def products_of_tensor_cores() -> Iterator[None]:
    """The interpreter multiplies all bits; here it cuts as tensor cores do."""
    with pytest.MonkeyPatch.context() as patch:
        if not GPU:
            from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

            whole = InterpreterBuilder.create_dot

            def cut(self, a, b, *rest):
                a, b = (TensorHandle(cut_to_tf32(part.data), part.dtype) for part in (a, b))
                return whole(self, a, b, *rest)

            patch.setattr(InterpreterBuilder, "create_dot", cut)
        yield


@pytest.mark.parametrize("cost", COSTS)
@given(problems(samples=40, count=290) if GPU else problems(samples=8, count=140))
@settings(max_examples=60 if GPU else 6, deadline=None)
def test_assignment_is_that_of_double_precision(cost: str, problem: Problem) -> None:
    x, y, psi = problem
    for targets in dense_and_sparse(y):
        assert_exact(assign_on_device(x, targets, psi, cost), brute_force(x, y, psi, cost))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 129, 1), (33, 1, 5), (2, 130, 33)])
def test_smallest_and_odd_shapes(cost: str, shape: tuple[int, int, int]) -> None:
    b, n, d = shape
    x, y, psi = torch.rand(b, d), torch.rand(n, d), torch.rand(n)
    for targets in dense_and_sparse(y):
        assert_exact(assign_on_device(x, targets, psi, cost), brute_force(x, y, psi, cost))


@pytest.mark.parametrize("cost", COSTS)
def test_the_lowest_of_equal_targets_wins_whatever_the_tiles_and_blocks(cost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    y = torch.rand(50, 9, generator=random)
    x, psi = torch.rand(5, 9, generator=random), torch.rand(50, generator=random)
    expected = brute_force(x, y, psi, cost).argmin(1)
    for targets in dense_and_sparse(y.repeat(6, 1)):
        assert torch.equal(assign_on_device(x, targets, psi.repeat(6), cost)[0].cpu(), expected)
        with monkeypatch.context() as patch:
            # Three programs a sample, which share the tiles.
            patch.setitem(cuda.EXACT, "SCAN", 1)
            patch.setattr(cuda, "PROGRAMS", 15)
            assert torch.equal(assign_on_device(x, targets, psi.repeat(6), cost)[0].cpu(), expected)
    monkeypatch.setattr(cuda, "ROOM", 1)
    many = x.repeat(14, 1)  # of which 32 or 64 pass at a time
    for targets in dense_and_sparse(y.repeat(3, 1)):
        assert torch.equal(assign_on_device(many, targets, psi.repeat(3), cost)[0].cpu(), expected.repeat(14))


@pytest.mark.parametrize("cost", COSTS)
def test_nearly_equal_targets_are_told_apart(cost: str) -> None:
    """The squares of far-off points cancel in single precision, and those of close ones vanish; the answer must not."""
    far = torch.full((2, 20), 1000.0)
    far_targets = far[:1].repeat(150, 1) + torch.linspace(1, 2, 150)[:, None] * 1e-3 * torch.arange(1, 21)
    close = torch.linspace(1, 2, 150)[:, None].repeat(1, 20) * 1e-22
    for x, y in ((far, far_targets), (torch.zeros(2, 20), close)):
        for targets, last in zip((*dense_and_sparse(y), *dense_and_sparse(y.flip(0))), (0, 0, 149, 149), strict=True):
            assert assign_on_device(x, targets, torch.zeros(150), cost)[0].tolist() == [last, last]


@pytest.mark.parametrize("cost", COSTS)
def test_not_a_number_is_told_in_the_value(cost: str) -> None:
    y, psi = torch.rand(200, 4), torch.rand(200)
    for targets in dense_and_sparse(y):
        x = torch.rand(3, 4)
        x[1, 2] = torch.nan
        index, value = (part.cpu() for part in assign_on_device(x, targets, psi, cost))
        assert value.isnan().tolist() == [False, True, False]
        assert index[1] == 0
        assert_exact((index[::2], value[::2]), brute_force(x[::2], y, psi, cost))
        index, value = assign_on_device(torch.rand(2, 4), targets, torch.full((200,), torch.nan), cost)
        assert index.tolist() == [0, 0] and bool(value.isnan().all())


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_error_of_tensor_cores_is_within_its_bound(size: int) -> None:
    """Numbers whose cut bits are all set, so that every product is as short as it can be."""
    x = np.full(size, 2 - 2.0**-23, np.float32)
    product = cut_to_tf32(x).astype(np.float64) @ cut_to_tf32(x).astype(np.float64)
    norm = x.astype(np.float64) @ x.astype(np.float64)
    error = (2 * norm - 2 * product) / (2 * norm)
    assert 0.1 * cuda.dense_error(size, "sqeuclidean") < error < cuda.dense_error(size, "sqeuclidean")


def test_kernels_compile_for_a_gpu() -> None:
    """For A100 and H100, by the compiler that comes with Triton: the interpreter lets pass what it refuses."""
    code = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from pgen.ot.assignment import cuda, triton_kernels as kernels

TYPES = {"samples": "i32", "count": "i32", "size": "i32", "tiles": "i32", "relative": "fp32", "starts": "*i64", "pixels": "*i32",
         "values": "*fp64", "indices": "*i64"}

def build(kernel, capability, warps, ones=(), **constants):
    constants |= dict.fromkeys(ones, 1)  # Triton takes an argument of 1 for a constant
    types = {name: "constexpr" if name in constants else TYPES.get(name, "*fp32") for name in kernel.arg_names}
    if kernel is kernels.exact:
        types["x_norms"] = "*fp64"
    source = ASTSource(kernel, types, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps}).asm["ptx"]

for capability, product in ((80, "mma.sync"), (90, "wgmma")):
    for kind in (0, 1, 2):
        for kernel, shape, ones in (
            (kernels.dense_bounds, cuda.L1_TILE if kind == 0 else cuda.DOT_TILE, ("samples", "count", "size", "tiles")),
            (kernels.sparse_bounds, cuda.SPARSE_TILE, ("samples", "count", "tiles")),
        ):
            shape = dict(shape)
            warps = shape.pop("num_warps")
            for given in ((), ones) if capability == 90 else ((),):
                code = build(kernel, capability, warps, given, KIND=kind, **shape)
                assert (product in code) == (kernel is kernels.dense_bounds and kind > 0), (kernel.__name__, kind)
        for sparse, tile in ((False, cuda.L1_TILE["TILE"]), (True, cuda.SPARSE_TILE["TILE"])):
            constants = {**cuda.EXACT, "KIND": kind, "SPARSE": sparse, "TILE": tile}
            build(kernels.exact, capability, constants.pop("num_warps"), **constants)
            build(kernels.exact, capability, 4, ("count", "size", "tiles"), **constants)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@on_a_gpu
@pytest.mark.parametrize("cost", COSTS)
def test_assign_takes_the_kernels_and_waits_for_nothing(cost: str) -> None:
    x, y, psi = torch.rand(100, 50, device="cuda"), torch.rand(3000, 50, device="cuda"), torch.rand(3000, device="cuda")
    for targets in dense_and_sparse(y):
        assign(x, targets, psi, cost)  # compiles, and finds the norms
        try:
            torch.cuda.set_sync_debug_mode("error")
            found = assign(x, targets, psi, cost)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert_exact(found, brute_force(x.cpu(), y.cpu(), psi.cpu(), cost))


@on_a_gpu
@pytest.mark.parametrize("cost", COSTS)
def test_more_than_two_to_the_31_numbers(cost: str) -> None:
    size = 2**22
    y = torch.empty(2**31 // size + 8, size, device="cuda")
    y[:] = torch.arange(len(y), device="cuda")[:, None]
    x = y[-3:] + 0.25
    assert assign(x, y, torch.zeros(len(y), device="cuda"), cost)[0].tolist() == list(range(len(y) - 3, len(y)))


def test_bounds_are_needed() -> None:
    """Without room for rounding the tests above would fail: single precision alone does not find the nearest of these."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 40, generator=random), torch.randn(40, 40, generator=random).repeat(7, 1)
    y += 1e-6 * torch.randn(y.shape, generator=random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "dense_error", lambda size, cost: 0.0)
        index, _ = assign_on_device(x, Targets(y), torch.zeros(280), "sqeuclidean")
    assert not torch.equal(index.cpu(), brute_force(x, y, torch.zeros(280), "sqeuclidean").argmin(1))
    index, _ = assign_on_device(x, Targets(y), torch.zeros(280), "sqeuclidean")
    assert torch.equal(index.cpu(), brute_force(x, y, torch.zeros(280), "sqeuclidean").argmin(1))
