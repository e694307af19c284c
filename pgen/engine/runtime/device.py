"""Choosing the device, and how much of it is free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pgen.engine.config import DEVICE
from pgen.engine.distributed.group import ProcessGroup
from pgen.errors import PgenError
from pgen.utils import resources


def choose_device(device: str = "auto", gpu: int | None = None, ranks: ProcessGroup | None = None) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU; of several ranks each has the GPU of its number on its host.

    UserError for another word, or a GPU this machine does not have.
    """
    if not re.fullmatch(DEVICE, device):
        raise PgenError(f"--device {device}: wanted auto, cpu, cuda or cuda:i, with i the number of a GPU, from 0.")
    if ranks is not None and ranks.count > 1 and device != "cpu":
        if gpu is not None or ":" in device:
            named = f"--gpu {gpu}" if gpu is not None else f"--device {device}"
            raise PgenError(f"{named}: {ranks.count} ranks cannot share one GPU; leave it out, and each takes its own.")
        # Where the scheduler shows each rank one GPU alone, that has number 0.
        if torch.cuda.is_available() and (count := torch.cuda.device_count()) > 1:
            if ranks.local >= count:
                raise PgenError(f"This host has {count} GPUs and more ranks than that; launch one rank a GPU, or pass --device cpu.")
            gpu = ranks.local
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
        raise PgenError(f"GPU {index} was asked for, but this machine has {has}; pass --device cpu, or leave --gpu out.")
    return torch.device("cuda", index)


def configure_backend(device: torch.device, *, deterministic: bool) -> None:
    """Before training on a GPU: let its libraries look for the fastest kernels, or keep to those that give the same bytes again. (The CPU's
    do so anyway.) Where torch has no such kernel, it warns."""
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)  # whose generator is seeded, and where ranks talk
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS wants for it
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def precision_context(device: torch.device, precision: str) -> Iterator[None]:
    """How a training step counts: in fp32; with products of fewer digits on a GPU (tf32); or in bf16 where that is safe."""
    former = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"  # torch would use it for convolutions unless told otherwise
    try:
        # A step may move the weights more than once: a cache of rounded ones would be stale.
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(former[0])
        torch.backends.cudnn.allow_tf32 = former[1]


def free_memory(device: torch.device) -> int:
    """Bytes free on a GPU; for the CPU, those that this process can still take."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else resources.free_memory()


def room_for_data(device: torch.device, holders: int = 1) -> int:
    """Compute how much of a device's memory training data may fill, where ``holders`` processes share it.

    Half of what is free on a GPU. A quarter on the CPU: there data are held as their file has them and as the model sees them, and twice
    while they are put together.
    """
    return free_memory(device) // (2 if device.type == "cuda" else 4) // holders


def memory_in_use(device: torch.device) -> int | None:
    """Bytes that torch holds on a GPU, None on the CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None
