"""The curves through which a model sees charge: pgen's own, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from functools import cache
from typing import TYPE_CHECKING

from pgen.errors import ConfigError
from pgen.plugins.entry_points import SCALES, Entry, cause, find_entry, load_instance, names, plugin_error

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """A curve f that maps charge q to f(q / u) / f(clip / u), between 0 and 1.

    Both functions are exported with ``generator.pt2``, so they must consist of torch's own
    operations.

    A package offers a scale by an entry point in the group ``pgen.scales``, whose name becomes a
    value of the option ``--scale``. Its pyproject.toml::

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

    Attributes:
        forward: f, an increasing function of float tensors of any shape and values >= 0, with f(0)
            = 0.
        inverse: The inverse of f.
        needs_unit_charge: Whether u is the transform's ``unit_charge``, for a curve that bends
            there. Otherwise u is ``clip``.
    """

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    needs_unit_charge: bool = False
    around: InitVar[bool | None] = None  #: earlier name of needs_unit_charge, as plug-ins may give it

    def __post_init__(self, around: bool | None) -> None:
        if around is not None:
            object.__setattr__(self, "needs_unit_charge", around)

    def top(self, greatest: float) -> float:
        """Return f of a number, in double precision."""
        import torch

        return float(self.forward(torch.tensor(greatest, dtype=torch.float64)))


#: pgen's own scales. Their functions are methods of tensors, so that naming them does not import
#: torch.
BUILT_IN = {
    "linear": Scale(lambda x: x, lambda y: y),
    "sqrt": Scale(lambda x: x.sqrt(), lambda y: y.square()),
    "log": Scale(lambda x: x.log1p(), lambda y: y.expm1(), needs_unit_charge=True),
    "asinh": Scale(lambda x: x.asinh(), lambda y: y.sinh(), needs_unit_charge=True),
}


def scale_names() -> list[str]:
    """Return the possible values of ``scale``."""
    return [*BUILT_IN, *(name for name in names(SCALES) if name not in BUILT_IN)]


def get_scale(name: str) -> Scale:
    """Return the scale of this name.

    Raises:
        ConfigError: If there is none.
        PluginError: If a plug-in's scale does not work.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    entry = find_entry(SCALES, name)
    if entry is None:
        raise ConfigError(f"scale={name!r} is unknown; expected one of {', '.join(scale_names())}.")
    return _load_scale(entry)


@cache
def _load_scale(entry: Entry) -> Scale:
    """Load a plug-in's scale; refuse f(0) != 0, a curve that falls, or a wrong inverse."""
    scale = load_instance(entry, Scale)
    try:
        import torch

        charge = torch.linspace(0, 100 if scale.needs_unit_charge else 1, 201, dtype=torch.float64)
        value = scale.forward(charge)
        falls = (value.diff() <= 0).nonzero().flatten()[:1]
        back = scale.inverse(value)
    except Exception as error:
        raise plugin_error(entry, cause(error, entry.package)) from error
    values = [f"f({float(charge[k]):.3g}) = {float(value[k]):.3g}" for k in (0, *falls, *(falls + 1))]
    if abs(float(value[0])) > 1e-6 or len(falls):
        raise plugin_error(entry, f"its forward gives {', '.join(values)}; expected 0 at 0, and increasing values")
    if not torch.allclose(back, charge, rtol=1e-3, atol=1e-6):
        raise plugin_error(entry, "its inverse does not undo its forward")
    return scale
