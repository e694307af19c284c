"""Public functions whose shapes and types are checked at every call, by jaxtyping and beartype.

The same letter is the same length in all arguments and results of a function. Once functions have
such annotations themselves, `jaxtyping.install_import_hook` in tests/conftest.py replaces this file.
"""

# ruff: noqa: F722 - axes, not annotations in quotes

from __future__ import annotations

from beartype import beartype
from jaxtyping import Float, Float32, Float64, Int64, jaxtyped
from numpy import ndarray
from torch import Tensor

from pgen import data, ot
from pgen.metrics.features import observables

check_shapes = jaxtyped(typechecker=beartype)


@check_shapes
def assign(
    x: Float[Tensor, "B D"], targets: Float[Tensor, "N D"], psi: Float[Tensor, " N"], cost: str
) -> tuple[Int64[Tensor, " B"], Float[Tensor, " B"]]:
    return ot.assign(x, targets, psi, cost)


@check_shapes
def cost_matrix(x: Float[Tensor, "B D"], y: Float[Tensor, "N D"], cost: str) -> Float[Tensor, "B N"]:
    return ot.cost_matrix(x, y, cost)


@check_shapes
def pair_cost(x: Float[Tensor, "B D"], y: Float[Tensor, "B D"], cost: str) -> Float[Tensor, " B"]:
    return ot.pair_cost(x, y, cost)


@check_shapes
def read_all(images: data.ArrayImages, like: Float32[ndarray, "N C H W"]) -> Float32[ndarray, "N C H W"]:
    return data.read_all(images)


@check_shapes
def quantities(images: Float32[ndarray, "N C H W"]) -> Float64[ndarray, "N C Q"]:
    return observables.quantities(images)
