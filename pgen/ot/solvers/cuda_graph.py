"""Record repeated work as a CUDA graph, which launches all its kernels at the cost of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pgen.ot.targets import Targets

#: Calls before the capture, in which kernels are compiled and values are cached (norms of targets).
WARM_UP = 3


class GraphedFunction:
    """A function of tensors, replayed as a CUDA graph from its fourth call on.

    It must do the same work on the same memory each time. Python numbers keep the values that they
    had at the capture: what changes from call to call must be in the inputs, whose shapes are
    fixed, or in tensors that stay where they are. Random numbers may come from torch's default
    generator of the device. What a call returns is overwritten by the next one.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._calls = function, 0
        self._inputs: dict[str, Tensor] = {}
        self._outputs: Any = None
        self._replay: Callable[[], None] | None = None

    @torch.no_grad()
    def __call__(self, **inputs: Tensor) -> Any:
        """Call the function, or replay it."""
        if self._calls < WARM_UP:
            self._calls += 1
            return self._function(**inputs)
        if self._replay is None:
            self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
            self._outputs, self._replay = capture(lambda: self._function(**self._inputs))
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._replay()
        return self._outputs


def make_graphed(function: Callable[..., Any], targets: Targets) -> Callable[..., Any]:
    """Return ``function`` as a :class:`GraphedFunction` if all targets are on one GPU."""
    return GraphedFunction(function) if targets.device.type == "cuda" and targets.group is None else function


def capture(function: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Capture a function as a CUDA graph.

    Returns:
        outputs: What it returns, without values before the first replay.
        replay: Runs the graph.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads may continue to copy batches meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = function()
    return outputs, graph.replay
