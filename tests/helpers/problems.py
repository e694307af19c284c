"""Assignment problems of every kind, and what their answers must be."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from hypothesis import strategies as st

from pgen.ot import Targets

Problem = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def brute_force(x: torch.Tensor, y: torch.Tensor, psi: torch.Tensor, cost: str) -> torch.Tensor:
    """Compute all values (B, N) in double precision."""
    difference = (x[:, None].double() - y[None].double()).numpy()
    if cost == "l1":
        values = np.abs(difference).sum(-1)
    else:
        values = np.square(difference).sum(-1)
        values = np.sqrt(values) if cost == "l2" else values
    return torch.from_numpy(values) - psi.double()


def assert_exact(found: tuple[torch.Tensor, torch.Tensor], values: torch.Tensor) -> None:
    """Assert that (index, value) are those of the smallest of ``values`` (B, N)."""
    index, value = (part.cpu() for part in found)
    chosen = values.gather(1, index[:, None])[:, 0]
    # Of values equal to the last bit of double precision either may be meant.
    assert torch.all(chosen <= values.min(1).values + 1e-13 * (1 + values.abs().max()))
    torch.testing.assert_close(value.double(), chosen, rtol=1e-6, atol=1e-6)


def dense_and_sparse(y: torch.Tensor) -> tuple[Targets, Targets]:
    """Return the targets as they are, and in sparse form whatever their occupancy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls CSR tensors beta
        return Targets(y), Targets(y.to_sparse_csr())


@st.composite
def problems(draw: st.DrawFn, samples: int = 70, count: int = 300, size: int = 40) -> Problem:
    """Draw x, targets and psi of odd sizes.

    They are smooth or of few integers (so that values tie), may have zeros, one sign or both, and
    may not be contiguous.
    """
    b, n, d = draw(st.integers(1, samples)), draw(st.integers(1, count)), draw(st.integers(1, size))
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
        x, y = (torch.where(torch.rand(v.shape, generator=random) < 0.4, -v, v) for v in (x, y))  # signed charge
    if draw(st.booleans()):
        x, y, psi = x.T.contiguous().T, y.repeat(1, 2)[:, :d], psi.repeat_interleave(2)[::2]
    return x, y, psi
