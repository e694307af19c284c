"""Weights files: safetensors whose header has model name, options and facts about the data.

One such file is enough to use a model.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import nn

from pgen.engine.runtime.device import free_memory
from pgen.errors import DeviceError, PgenError, RunError, one_line, option
from pgen.plugins import registry
from pgen.plugins.specs import DataInfo, ModelConfig
from pgen.utils.files import write_through_memory
from pgen.utils.resources import is_out_of_memory
from pgen.utils.untrusted import load_torch

FORMAT = "pgen-weights-1"
#: Suffix by which torch marks the result of ``get_extra_state`` in a state dictionary.
EXTRA_STATE = "_extra_state"


def extra_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a state dictionary that ``get_extra_state`` of the modules returned."""
    return {name: value for name, value in state.items() if name.rpartition(".")[2] == EXTRA_STATE}


@dataclass(frozen=True)
class WeightsHeader:
    """Header of a weights file.

    Attributes:
        model: Name of the model.
        config: The model's options as plain values.
        data: Facts about the training data.
        step: Step after which the weights were saved.
        packed: Names of extra state that is not a tensor and is stored as :func:`torch.save` bytes.
        trained_extra_state: Set for averaged weights of a model with extra state; earlier versions
            saved them with the extra state of the untrained model.
    """

    model: str
    config: dict[str, Any]
    data: DataInfo
    step: int
    packed: tuple[str, ...] = ()
    trained_extra_state: bool = False


def save_weights(
    path: Path,
    state: dict[str, Any],
    *,
    model: str,
    config: ModelConfig,
    data: DataInfo,
    step: int,
    averaged: bool = False,
    guard: Callable[[], object] = lambda: None,
) -> None:
    """Write a model's state with all that is needed to build the model again.

    Args:
        path: The file.
        state: State dictionary of the model.
        model: Name of the model.
        config: Options of the model.
        data: Facts about the training data.
        step: Step after which the state is saved.
        averaged: Whether the weights are an EMA.
        guard: See :class:`pgen.utils.files.Outputs`.
    """
    header = {"format": FORMAT, "model": model, "config": config.model_dump(mode="json"), "data": data.to_dict(), "step": step}
    # Left out if empty, so that bytes and digests of most files stay those of earlier versions.
    if packed := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
        header["packed"] = packed
    if averaged and extra_state(state):
        header["trained_extra_state"] = True
    tensors = {name: pack(state[name]) if name in packed else value for name, value in state.items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    content = serialise(tensors, metadata={"pgen": json.dumps(header)})
    write_through_memory(path, lambda stream: stream.write(content), guard)


def pack(value: Any) -> torch.Tensor:
    """Serialise plain values to a tensor of bytes."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return torch.frombuffer(bytearray(stream.getbuffer()), dtype=torch.uint8)


def unpack(packed: torch.Tensor) -> Any:
    """Restore what :func:`pack` serialised, without running code in it.

    Raises:
        ValueError: It holds more than plain values; damaged bytes raise torch's own errors.
    """
    return load_torch(io.BytesIO(packed.numpy().tobytes()))


def read_header(path: Path) -> WeightsHeader:
    """Read the header of a weights file.

    Raises:
        RunError: The file is missing, or not a weights file of pgen.
    """
    if not path.is_file():
        way_out = f"Train it further with {option('resume')}."
        raise RunError(f"{path} is missing: the run has not reached its first checkpoint, or was moved. {way_out}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["pgen"])
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']!r}, expected {FORMAT!r}")
        return TypeAdapter(WeightsHeader).validate_python({**header, "data": DataInfo.from_dict(header["data"])})
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise RunError(f"{path} is no weights file of pgen ({one_line(error)}); expected a model/weights.safetensors.") from error


def digest(path: Path) -> str:
    """Compute the SHA-256 of a weights file, as hex digits; it identifies a training."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_size(plugin: registry.Plugin, config: ModelConfig, data: DataInfo, device: torch.device) -> None:
    """Check that a model fits into the device's free memory, before it takes any.

    Raises:
        DeviceError: It does not.
    """
    try:
        with torch.device("meta"):
            model = plugin.model_class()(config, data)
    except PgenError:
        raise
    except Exception:
        return  # a model that needs values in __init__; building it reports what is wrong
    size = sum(value.numel() * value.element_size() for value in (*model.parameters(), *model.buffers()))
    if size > (free := free_memory(device)):
        raise DeviceError(
            f"Model {plugin.spec.name!r} with these options takes {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free on {device}; "
            "choose smaller layers, or a larger machine."
        )


def load_module(path: Path, sampling: Mapping[str, Any] | None = None) -> tuple[nn.Module, WeightsHeader]:
    """Load the model of a weights file.

    Args:
        path: The file.
        sampling: Sampling options in place of the file's.

    Returns:
        The model in evaluation mode on the CPU, and the header.

    Raises:
        RunError: The file is missing, damaged or of another model.
    """
    header = read_header(path)
    plugin = registry.load(header.model)
    config = plugin.options({**header.config, **(sampling or {})}, path)
    check_size(plugin, config, header.data, torch.device("cpu"))
    model = plugin.model_class()(config, header.data)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        state.update({name: unpack(state[name]) for name in header.packed})
    except Exception as error:
        raise RunError(f"{path} is damaged: its extra state cannot be read ({one_line(error)}).") from error
    load_state(model, state, path)
    return model.eval(), header


def load_state(model: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a state dictionary, read from ``path``, into a model.

    Raises:
        RunError: It is of another model.
    """
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        if is_out_of_memory(error):
            raise
        raise RunError(f"{path} does not fit the installed {type(model).__name__}: {error}".replace("\n", " ")) from error
