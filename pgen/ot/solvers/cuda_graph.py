"""Work that a GPU repeats, recorded once and replayed: all its kernels are launched at the cost of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pgen.ot.targets import Targets

#: Calls before the recording, in which kernels are compiled and what is kept for later (norms of targets) is found.
WARM_UP = 3


class Replayed:
    """A function of tensors that does the same work on the same memory each time, replayed as a CUDA graph from its fourth call on.

    Numbers of the host are to it what they were at the recording: what changes from call to call must be in its inputs, whose shapes stay,
    or in tensors that it finds where they were. Random numbers may be those of torch's own generator of the device. What it returns is
    overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._calls = function, 0
        self._inputs: dict[str, Tensor] = {}
        self._outputs: Any = None
        self._replay: Callable[[], None] | None = None

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> Any:
        if self._calls < WARM_UP:
            self._calls += 1
            return self._function(**inputs)
        if self._replay is None:
            self._inputs = {name: given.clone() for name, given in inputs.items()}
            self._outputs, self._replay = record(lambda: self._function(**self._inputs))
        for name, given in inputs.items():
            self._inputs[name].copy_(given)
        self._replay()
        return self._outputs


def replayed(function: Callable[..., Any], targets: Targets) -> Callable[..., Any]:
    """``function``, replayed where it can be: with targets that are all on one GPU."""
    return Replayed(function) if targets.device.type == "cuda" and targets.group is None else function


def record(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """What ``function`` returns, without values before the first replay, and what replays it."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on to copy batches meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = function()
    return outputs, graph.replay
