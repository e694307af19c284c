"""Choice of the device, its numeric precision and its free memory."""

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
    """Choose the device to compute on.

    Args:
        device: "auto" (the first GPU, or the CPU without one), "cpu", "cuda" or "cuda:i".
        gpu: Number of a GPU, in place of ``device``.
        group: The processes that train together. Each takes the GPU of its local rank.

    Raises:
        ConfigError: ``device`` is no such word, or several ranks are to share one GPU.
        DeviceError: This machine has no such GPU, or fewer GPUs than ranks.
    """
    if not re.fullmatch(DEVICE, device):
        raise ConfigError(f"{option('device', device)}: expected auto, cpu, cuda or cuda:i, with i the number of a GPU, from 0.")
    if group is not None and group.count > 1 and device != "cpu":
        if gpu is not None or ":" in device:
            shared = option("gpu", gpu) if gpu is not None else option("device", device)
            raise ConfigError(f"{shared}: {group.count} ranks cannot share one GPU; leave it out, and each takes its own.")
        # A scheduler may show each rank only one GPU, which then has number 0.
        if torch.cuda.is_available() and (count := torch.cuda.device_count()) > 1:
            if group.local >= count:
                cpu = option("device", "cpu")
                raise DeviceError(f"This host has {count} GPUs and more ranks than that; launch one rank per GPU, or pass {cpu}.")
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
        available = "no usable GPU" if count == 0 else f"{count} GPU(s), numbered from 0"
        raise DeviceError(
            f"GPU {index} does not exist: this machine has {available}; pass {option('device', 'cpu')}, or leave {option('gpu')} out."
        )
    return torch.device("cuda", index)


def configure_backend(device: torch.device, *, deterministic: bool) -> None:
    """Set up a GPU's libraries before training.

    Args:
        device: Where the model is trained; nothing is done for the CPU, which is deterministic.
        deterministic: Use kernels that give the same bytes each time, in place of the fastest.
            torch warns where it has none.
    """
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)  # default device of seeding and of NCCL
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def precision_context(device: torch.device, precision: str) -> Iterator[None]:
    """Set the numeric precision of a training step: "fp32", "tf32" or "bf16" (autocast)."""
    former = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"  # torch's default is True for convolutions
    try:
        # A step may update the weights more than once, which makes autocast's cache of them stale.
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(former[0])
        torch.backends.cudnn.allow_tf32 = former[1]


def free_memory(device: torch.device) -> int:
    """Return the bytes free on a GPU; for the CPU, those that this process can still allocate."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else resources.free_memory()


def room_for_data(device: torch.device, holders: int = 1) -> int:
    """Compute how much of a device's memory training data may fill.

    Half of the free memory of a GPU. A quarter on the CPU, where data are stored both as in their
    file and in model space, and twice while they are assembled.

    Args:
        device: The device.
        holders: Number of processes that share it.

    Returns:
        Bytes per process.
    """
    return free_memory(device) // (2 if device.type == "cuda" else 4) // holders


def memory_in_use(device: torch.device) -> int | None:
    """Return the bytes that torch has allocated on a GPU; None on the CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None
