"""What a CUDA graph does, on the CPU: work is recorded with the memory and the numbers it is given, and repeated on these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
#: Operations whose result, or its size, the host would have to wait for; no graph can hold them.
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.bincount.default}


class Tape(TorchDispatchMode):
    """Records operations while it is entered. What they have changed in place, and torch's random numbers, are as before when it is left:
    recording is not doing."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Callable[[], None]] = []
        self._before: dict[torch.Tensor, torch.Tensor] = {}
        self._random = torch.get_rng_state()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in WAITING or (function is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])):
            raise RuntimeError(f"{function} waits for the device")
        for argument, given in zip(function._schema.arguments, args, strict=False):
            if argument.alias_info and argument.alias_info.is_write and given not in self._before:
                self._before[given] = given.clone()
        found = function(*args, **kwargs)

        def again() -> None:
            for new, old in zip(tree_leaves(function(*args, **kwargs)), tree_leaves(found), strict=True):
                if new.data_ptr() != old.data_ptr():
                    old.copy_(new)

        self.work.append(again)
        return found

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for changed, before in self._before.items():
            changed.copy_(before)
        torch.set_rng_state(self._random)

    def replay(self) -> None:
        for again in self.work:
            again()


class Noted:
    """A Triton kernel, whose launches a tape does not see by itself."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            def again() -> None:
                with _disable_current_modes():
                    self._kernel[grid](*arguments, **constants)

            if isinstance(tape := _get_current_dispatch_mode(), Tape):
                tape.work.append(again)
            again()

        return launch


def record(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """As :func:`pgen.ot.solvers.cuda_graph.capture`."""
    with Tape() as tape:
        outputs = function()
    return outputs, tape.replay
