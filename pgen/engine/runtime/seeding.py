"""Random numbers from one seed.

Each generator follows from (seed, purpose, number), as of a step, so a run resumes without a saved
random state.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, number: int = 0) -> int:
    """Derive a 63-bit seed, independent for each purpose and number."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, number: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a torch generator on ``device`` for one purpose and number."""
    return torch.Generator(device=device).manual_seed(derive(seed, purpose, number))


def reseed(seed: int, device: torch.device) -> None:
    """Seed the default generators of the CPU and ``device``, which layers such as dropout use."""
    # torch.manual_seed seeds all devices; without a GPU in use it queues that, with a traceback,
    # at every call.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
