"""All randomness from one seed: each step's generator follows from (seed, purpose, number), so resuming needs no saved state."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, purpose: str, number: int = 0) -> int:
    """A 63-bit seed, independent for each purpose and number."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, number: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on ``device`` for one purpose."""
    return torch.Generator(device=device).manual_seed(derive(seed, purpose, number))


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generators that layers such as dropout draw from.

    ``torch.manual_seed`` seeds those of all devices: where no GPU is in use it notes that for later, at every call anew, with a traceback.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
