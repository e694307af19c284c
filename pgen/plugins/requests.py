"""Arguments of the hooks ``deploy`` and ``sample``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgen.utils.spelling import Format


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What ``pgen deploy`` should write.

    Attributes:
        out: The folder to write into.
        checkpoint: ``best``, ``last`` or a step.
        data: The source to encode; None for the training data.
        data_root: The folder of relative sources.
        decoder: An auto-encoder run, for a generator of latent codes that has no decoder yet.
        batch_size: Images per batch.
        overwrite: Whether files may be replaced.
    """

    out: Path
    checkpoint: str = "best"
    data: str | None = None
    data_root: str | None = None
    decoder: str | None = None
    batch_size: int = 256
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """What ``pgen sample`` should write.

    Attributes:
        n: The number of images.
        out: The file to write.
        seed: The seed of the noise.
        grid: A figure of the first images; None for none.
        checkpoint: ``best``, ``last`` or a step.
        decoder: An auto-encoder run, for a generator of latent codes that has no decoder yet.
        batch_size: Images per batch.
        overwrite: Whether files may be replaced.
        format: The file format; None for the one that the name of ``out`` implies.
        conditions: Values by condition, such as ``{"type": "proton"}``; others are drawn from the
            training labels.
    """

    n: int
    out: Path
    seed: int = 0
    grid: Path | None = None
    checkpoint: str = "best"
    decoder: str | None = None
    batch_size: int = 256
    overwrite: bool = False
    format: Format | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
