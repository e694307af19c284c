"""Shapes and types of public functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from pgen.data import ArrayImages
from pgen.ot import COSTS
from tests.helpers import shapes


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_optimal_transport(cost: str, dtype: torch.dtype) -> None:
    x, targets = torch.rand(5, 3, dtype=dtype), torch.rand(7, 3, dtype=dtype)
    index, value = shapes.assign(x, targets, torch.zeros(7, dtype=dtype), cost)
    matrix = shapes.cost_matrix(x, targets, cost)
    assert torch.equal(matrix.argmin(1), index) and torch.allclose(shapes.pair_cost(x, targets[index], cost), value, atol=1e-5)


def test_images() -> None:
    pixels = np.random.default_rng(0).random((4, 2, 6, 5)).astype(np.float32)
    assert np.array_equal(shapes.read_all(ArrayImages(pixels), pixels), pixels)
    assert shapes.quantities(pixels).shape[:2] == (4, 2)


def test_another_shape_is_an_error() -> None:
    with pytest.raises(TypeCheckError):
        shapes.pair_cost(torch.rand(5, 3), torch.rand(5, 4), "l1")
