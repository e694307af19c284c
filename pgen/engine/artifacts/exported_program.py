"""generator.pt2: noise in, images in charge units out, in one file that torch alone can run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from pgen.data.images import ZERO_SUPPRESSION
from pgen.engine.artifacts.program_audit import check_program
from pgen.errors import PgenError, one_line
from pgen.plugins.specs import Condition
from pgen.utils.files import write_through_memory
from pgen.utils.resources import is_out_of_memory

FORMAT = "pgen-generator-1"


class _Pipeline(nn.Module):
    def __init__(self, generator: nn.Module, to_images: nn.Module) -> None:
        super().__init__()
        self.generator, self.to_images = generator, to_images

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.to_images(self.generator(noise) if condition is None else self.generator(noise, condition))


def save_program(path: Path, generator: nn.Module, to_images: nn.Module, given: tuple[Tensor, ...], facts: dict[str, Any]) -> None:
    """Export ``generator`` and ``to_images``, one after the other, for any number of noise vectors, and conditions, like those ``given``
    (n, ...), n at least 2.

    facts: kept in the file's pgen.json, besides format and noise shape. UserError where torch cannot export them.
    """
    given = tuple(each.cpu() for each in given)
    try:
        # A program is there to be used: gradients of its weights would keep every activation in memory.
        program = _export(_Pipeline(generator, to_images).eval().cpu().requires_grad_(False), given)
        # Once more, of the traced module: what only training needs (potential, encoder, discriminator) stays behind.
        program = _export(_used_part(program.module()), given)
    except Exception as error:
        if isinstance(error, PgenError) or is_out_of_memory(error):
            raise
        raise PgenError(
            f"{path.name} cannot be made of {type(generator).__name__}: torch.export says {one_line(error)} Its forward must consist of "
            "torch's own operations, for any number of noise vectors; let a deploy hook write something else, or leave forward out."
        ) from error
    # Checks that a tensor is on the CPU, as it was here, would keep the program from running anywhere else.
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        program.graph.erase_node(node)
    # Traces of where each operation came from would tell the paths of this machine, and differ from one export to the next.
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for key in ("stack_trace", "from_node", "nn_module_stack", "source_fn_stack", "torch_fn"):
                node.meta.pop(key, None)
    program.graph_module.recompile()
    about = json.dumps({"format": FORMAT, "noise": list(given[0].shape[1:]), **facts})
    write_through_memory(path, lambda stream: torch.export.save(program, stream, extra_files={"pgen.json": about}))


def load_program(path: Path, device: torch.device) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """The program on ``device``, and its facts. UserError where the file is none of ours."""
    extra = {"pgen.json": ""}
    logging.disable()  # torch logs the traceback of a bad file
    try:
        check_program(path)
        program = torch.export.load(path, extra_files=extra)
        facts = json.loads(extra["pgen.json"])
        conditions_in(facts)
        if facts.get(ZERO_SUPPRESSION) is not None:  # an earlier version's has none
            facts[ZERO_SUPPRESSION] = float(facts[ZERO_SUPPRESSION])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}, wanted {FORMAT!r}")
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise PgenError(
            f"{path} is no generator exported by `pgen deploy` ({type(error).__name__}: {error}).".replace("\n", " ")
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return move_to_device_pass(program, device).module(), facts


def conditions_in(facts: dict[str, Any]) -> tuple[Condition, ...]:
    """The conditions that a program takes besides noise. An earlier version's takes none."""
    return TypeAdapter(tuple[Condition, ...]).validate_python(facts.get("conditions", ()))


def _export(module: nn.Module, given: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    images = {0: torch.export.Dim("images", min=1)}
    return torch.export.export(module, given, dynamic_shapes=tuple(images for _ in given))


def _used_part(module: nn.Module) -> nn.Module:
    """A traced module without the parameters and buffers that its graph does not read."""
    assert isinstance(module, torch.fx.GraphModule)
    module.graph.eliminate_dead_code()
    module.recompile()
    used = {node.target for node in module.graph.find_nodes(op="get_attr")}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            owner, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(owner), leaf)
    return module
