"""generator.pt2: a file that torch runs without pgen, from noise to images in charge units."""

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


class _Pipeline(nn.Module):
    def __init__(self, generator: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.generator, self.decoder = generator, decoder

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decoder(self.generator(noise) if condition is None else self.generator(noise, condition))


def save_program(path: Path, generator: nn.Module, decoder: nn.Module, inputs: tuple[Tensor, ...], facts: dict[str, Any]) -> None:
    """Export a generator followed by its decoder as one program, for any batch size.

    Args:
        path: The file.
        generator: Maps noise (n, ...), and conditions (n, K), to model space.
        decoder: Maps model space to charge.
        inputs: Example noise, and conditions, with n at least 2.
        facts: Stored in the file's pgen.json next to format and noise shape.

    Raises:
        PluginError: torch cannot export the model.
    """
    inputs = tuple(tensor.cpu() for tensor in inputs)
    try:
        # Without gradients, which would keep every activation in memory.
        program = _export(_Pipeline(generator, decoder).eval().cpu().requires_grad_(False), inputs)
        # Once more, from the traced module, to leave out what only training needs (potential,
        # encoder, discriminator).
        program = _export(_remove_unused(program.module()), inputs)
    except Exception as error:
        if isinstance(error, PgenError) or is_out_of_memory(error):
            raise
        raise PluginError(
            f"{path.name} cannot be made of {type(generator).__name__}: torch.export says {one_line(error)} Its forward must consist of "
            "torch's own operations, for any number of noise vectors; let a deploy hook write something else, or leave forward out."
        ) from error
    # Checks that a tensor is on the CPU, as it was here, would keep the program from running on
    # other devices.
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        program.graph.erase_node(node)
    # Traces of the source of each operation contain paths of this machine, and differ from one
    # export to the next.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for key in ("stack_trace", "from_node", "nn_module_stack", "source_fn_stack", "torch_fn"):
                node.meta.pop(key, None)
    program.graph_module.recompile()
    about = json.dumps({"format": FORMAT, "noise": list(inputs[0].shape[1:]), **facts})
    write_through_memory(path, lambda stream: torch.export.save(program, stream, extra_files={"pgen.json": about}))


def load_program(path: Path, device: torch.device) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """Load a program onto a device.

    Returns:
        The program and its facts.

    Raises:
        RunError: The file was not written by pgen.
    """
    extra = {"pgen.json": ""}
    try:
        check_program(path)
        with _quiet_torch():
            program = torch.export.load(path, extra_files=extra)
        facts = json.loads(extra["pgen.json"])
        conditions_in(facts)
        if facts.get(ZERO_SUPPRESSION) is not None:  # an earlier version's has none
            facts[ZERO_SUPPRESSION] = float(facts[ZERO_SUPPRESSION])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}, expected {FORMAT!r}")
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f"{path} is no generator exported by `pgen deploy` ({type(error).__name__}: {error}).".replace("\n", " ")) from error
    return move_to_device_pass(program, device).module(), facts


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Discard torch's log messages, which contain the traceback of a bad file."""
    logger = logging.getLogger("torch")
    level, loggers = logger.level, [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith("torch.")]
    levels = [child.level for child in loggers]
    for child in (logger, *loggers):
        child.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for child, former in zip((logger, *loggers), (level, *levels), strict=True):
            child.setLevel(former)


def conditions_in(facts: dict[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions that a program takes next to noise.

    One of an earlier version takes none.
    """
    return TypeAdapter(tuple[Condition, ...]).validate_python(facts.get("conditions", ()))


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    images = {0: torch.export.Dim("images", min=1)}
    return torch.export.export(module, inputs, dynamic_shapes=tuple(images for _ in inputs))


def _remove_unused(module: nn.Module) -> nn.Module:
    """Remove the parameters and buffers that the graph of a traced module does not read."""
    assert isinstance(module, torch.fx.GraphModule)
    module.graph.eliminate_dead_code()
    module.recompile()
    used = {node.target for node in module.graph.find_nodes(op="get_attr")}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    return module
