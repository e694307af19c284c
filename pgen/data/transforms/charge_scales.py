"""The curves through which a model sees charge: pgen's own, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from pgen.errors import PgenError
from pgen.plugins.entry_points import SCALES, Entry, cause, instance, names, only, plugin_error

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """A curve f, which turns a charge q into f(q / u) / f(clip / u), between 0 and 1.

    forward: f, an increasing function of float tensors of any shape, at least 0, with f(0) = 0. inverse: of f. around: whether u is the
    transform's ``unit_charge``, for a curve that bends there; otherwise it is ``clip``. Both functions are also exported with
    ``generator.pt2``: they must consist of torch's own operations.

    A package offers one by an entry point in the group ``pgen.scales``, whose name is what ``--scale`` is given::

        [project]
        name = "pgen-cubic"
        version = "0.1"
        dependencies = ["pgen-lartpc"]

        [project.entry-points."pgen.scales"]
        cbrt = "pgen_cubic:CBRT"

        [tool.setuptools]
        py-modules = ["pgen_cubic"]

    with, in ``pgen_cubic.py``::

        from pgen.data.transforms.charge_scales import Scale

        CBRT = Scale(lambda x: x ** (1 / 3), lambda y: y**3)
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    around: bool = False

    def top(self, greatest: float) -> float:
        """f of a number."""
        import torch

        return float(self.forward(torch.tensor(greatest, dtype=torch.float64)))


#: Those of pgen. Their functions are methods of tensors, so that no torch is needed to name them.
BUILT_IN = {
    "linear": Scale(lambda x: x, lambda y: y),
    "sqrt": Scale(lambda x: x.sqrt(), lambda y: y.square()),
    "log": Scale(lambda x: x.log1p(), lambda y: y.expm1(), around=True),
    "asinh": Scale(lambda x: x.asinh(), lambda y: y.sinh(), around=True),
}


def scale_names() -> list[str]:
    """What ``--scale`` may say."""
    return [*BUILT_IN, *(name for name in names(SCALES) if name not in BUILT_IN)]


def get_scale(name: str) -> Scale:
    """The scale of this name. UserError where there is none, or it does not work."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    entry = only(SCALES, name)
    if entry is None:
        raise PgenError(f"scale={name!r} is not known, wanted one of {', '.join(scale_names())}.")
    return _sound(entry)


@cache
def _sound(entry: Entry) -> Scale:
    """The scale of a plug-in. UserError where it would spoil charge: not 0 at 0, not rising, or with another inverse."""
    scale = instance(entry, Scale)
    try:
        import torch

        charge = torch.linspace(0, 100 if scale.around else 1, 201, dtype=torch.float64)
        value = scale.forward(charge)
        falls = (value.diff() <= 0).nonzero().flatten()[:1]
        back = scale.inverse(value)
    except Exception as error:
        raise plugin_error(entry, cause(error, entry.package)) from error
    told = [f"f({float(charge[k]):.3g}) = {float(value[k]):.3g}" for k in (0, *falls, *(falls + 1))]
    if abs(float(value[0])) > 1e-6 or len(falls):
        raise plugin_error(entry, f"its forward gives {', '.join(told)}; wanted 0 at 0, and to rise from there on")
    if not torch.allclose(back, charge, rtol=1e-3, atol=1e-6):
        raise plugin_error(entry, "its inverse does not undo its forward")
    return scale
