"""Arguments of the deploy and sample hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgen.utils.formats import Format


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What `pgen deploy` is to write.

    Attributes:
        out: Folder to write into.
        checkpoint: "best", "last" or a step.
        data: Source to encode; None for the training data.
        data_root: Folder that relative paths in ``data`` start from.
        decoder: Auto-encoder run that decodes the codes of a generator.
        batch_size: Images processed at once.
        overwrite: Whether to replace what is there.
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
    """What `pgen sample` is to write.

    Attributes:
        n: Number of images.
        out: File or folder to write.
        seed: Seed of the random numbers.
        grid: Figure of the first images to write too.
        checkpoint: "best", "last" or a step.
        decoder: Auto-encoder run that decodes the codes of a generator.
        batch_size: Images generated at once.
        overwrite: Whether to replace what is there.
        format: Format of ``out``; None for that of its name.
        conditions: Condition name to value, as ``{"type": "proton"}``; others are drawn from the training labels.
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
