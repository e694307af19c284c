"""generator.pt2: a program from noise to images in charge units, which torch runs without pgen."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from pgen.data.images import ZERO_SUPPRESSION
from pgen.engine.artifacts.program_audit import check_program
from pgen.errors import PgenError, PluginError, RunError, one_line
from pgen.plugins.specs import Condition
from pgen.utils.files import write_through_memory
from pgen.utils.resources import is_out_of_memory

FORMAT = "pgen-generator-1"
#: torch's loggers that print the traceback of a file that it cannot read.
_LOADING_LOGGERS = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")


class _Pipeline(nn.Module):
    def __init__(self, generator: nn.Module, to_images: nn.Module) -> None:
        super().__init__()
        self.generator, self.to_images = generator, to_images

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.to_images(self.generator(noise) if condition is None else self.generator(noise, condition))


def save_program(path: Path, generator: nn.Module, to_images: nn.Module, inputs: tuple[Tensor, ...], facts: dict[str, Any]) -> None:
    """Export a generator and the decoder of its samples as one program, for any batch size.

    Args:
        path: The file.
        generator: From noise, and conditions if it has them, to samples in model space.
        to_images: From samples to images in charge units.
        inputs: Examples of noise (N, ...) and, if needed, of conditions (N, K), with N >= 2.
        facts: What pgen.json in the file holds besides format and noise shape.

    Raises:
        PluginError: torch cannot export them.
    """
    inputs = tuple(tensor.cpu() for tensor in inputs)
    try:
        # Without gradients of the weights, a user's program does not keep every activation.
        program = _export(_Pipeline(generator, to_images).eval().cpu().requires_grad_(False), inputs)
        # Again, without what only training uses (potential, encoder, discriminator).
        program = _export(_remove_unused_state(program.module()), inputs)
    except Exception as error:
        if isinstance(error, PgenError) or is_out_of_memory(error):
            raise
        raise PluginError(
            f"{path.name} cannot be made of {type(generator).__name__}: torch.export says {one_line(error)} Its forward must consist of "
            "torch's own operations, for any number of noise vectors; let a deploy hook write something else, or leave forward out."
        ) from error
    # Assertions that a tensor is on the CPU, as here, would fail on every other device.
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        program.graph.erase_node(node)
    # Stack traces reveal paths of this machine and differ between exports.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for key in ("stack_trace", "from_node", "nn_module_stack", "source_fn_stack", "torch_fn"):
                node.meta.pop(key, None)
    program.graph_module.recompile()
    about = json.dumps({"format": FORMAT, "noise": list(inputs[0].shape[1:]), **facts})
    write_through_memory(path, lambda stream: torch.export.save(program, stream, extra_files={"pgen.json": about}))


def load_program(path: Path, device: torch.device) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """Load a program onto ``device``, after a check that it runs nothing but torch's operations.

    Returns:
        The program, and its facts.

    Raises:
        RunError: The file is not a generator that pgen exported.
    """
    extra = {"pgen.json": ""}
    try:
        check_program(path)
        with _silence(*_LOADING_LOGGERS):
            program = torch.export.load(path, extra_files=extra)
        facts = json.loads(extra["pgen.json"])
        read_conditions(facts)
        if facts.get(ZERO_SUPPRESSION) is not None:  # files of earlier versions lack it
            facts[ZERO_SUPPRESSION] = float(facts[ZERO_SUPPRESSION])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}, expected {FORMAT!r}")
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f"{path} is no generator exported by `pgen deploy` ({type(error).__name__}: {error}).".replace("\n", " ")) from error
    return move_to_device_pass(program, device).module(), facts


def read_conditions(facts: dict[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions that a program takes besides noise; none for earlier versions."""
    return TypeAdapter(tuple[Condition, ...]).validate_python(facts.get("conditions", ()))


@contextmanager
def _silence(*names: str) -> Iterator[None]:
    """Drop the records of these loggers."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("images", min=1)}
    return torch.export.export(module, inputs, dynamic_shapes=tuple(batch for _ in inputs))


def _remove_unused_state(module: nn.Module) -> nn.Module:
    """Remove parameters and buffers that the graph of a traced module does not read."""
    assert isinstance(module, torch.fx.GraphModule)
    module.graph.eliminate_dead_code()
    module.recompile()
    used = {node.target for node in module.graph.find_nodes(op="get_attr")}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    return module
