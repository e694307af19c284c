"""Choose the device, its numeric precision, and how much of its memory to use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pgen.engine.config import DEVICE
from pgen.engine.distributed.group import ProcessGroup
from pgen.errors import ConfigError, DeviceError, option
from pgen.utils import resources


def choose_device(device: str = "auto", gpu: int | None = None, group: ProcessGroup | None = None) -> torch.device:
    """Choose the device.

    Args:
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:i".
        gpu: Number of a GPU, in place of "cuda:i".
        group: The processes that train together; each gets the GPU of its number on its host.

    Raises:
        ConfigError: ``device`` is none of these, or ranks cannot share a GPU.
        DeviceError: This machine has no such GPU.
    """
    if not re.fullmatch(DEVICE, device):
        raise ConfigError(f"{option('device', device)}: expected auto, cpu, cuda or cuda:i, with i the number of a GPU, from 0.")
    if group is not None and group.count > 1 and device != "cpu":
        if gpu is not None or ":" in device:
            name = option("gpu", gpu) if gpu is not None else option("device", device)
            raise ConfigError(f"{name}: {group.count} ranks cannot share one GPU; leave it out, and each takes its own.")
        # If the scheduler shows each rank only one GPU, that one has number 0.
        if torch.cuda.is_available() and (count := torch.cuda.device_count()) > 1:
            if group.local >= count:
                way_out = f"launch one rank per GPU, or pass {option('device', 'cpu')}"
                raise DeviceError(f"This host has {count} GPUs and more ranks than that; {way_out}.")
            gpu = group.local
    if gpu is not None:
        device = f"cuda:{gpu}"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not device.startswith("cuda"):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        has = "no usable GPU" if count == 0 else f"{count} GPU(s), numbered from 0"
        way_out = f"pass {option('device', 'cpu')}, or leave {option('gpu')} out"
        raise DeviceError(f"GPU {index} was asked for, but this machine has {has}; {way_out}.")
    return torch.device("cuda", index)


def configure_backend(device: torch.device, *, deterministic: bool) -> None:
    """Configure a GPU for training: the fastest kernels, or deterministic ones.

    On the CPU kernels are deterministic.
    """
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)  # for its random generator and for communication
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def precision_context(device: torch.device, precision: str) -> Iterator[None]:
    """Set the numeric precision of a training step: fp32, tf32 (on a GPU) or bf16 autocast."""
    former = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"  # torch uses it for convolutions by default
    try:
        # A step may change the weights several times, which would make a cache of rounded ones
        # stale.
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(former[0])
        torch.backends.cudnn.allow_tf32 = former[1]


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU; for the CPU, those that this process can still take."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else resources.free_memory()


def room_for_data(device: torch.device, holders: int = 1) -> int:
    """Return the bytes that training data may take of a device that ``holders`` processes share.

    Half of what is free on a GPU. A quarter on the CPU, which holds data as in their file and as
    the model sees them, and twice while they are collected.
    """
    return free_memory(device) // (2 if device.type == "cuda" else 4) // holders


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch holds on a GPU; None on the CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None
