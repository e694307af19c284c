"""Random generators that follow from (seed, purpose, number), so resuming needs no state."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, number: int = 0) -> int:
    """Derive a 63-bit seed that is independent for each purpose and number."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, number: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for one purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, purpose, number))


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that layers such as dropout draw from.

    ``torch.manual_seed`` seeds all devices: without a GPU in use it stores a traceback at every
    call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
