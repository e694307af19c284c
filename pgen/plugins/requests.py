"""What `pgen deploy` and `pgen sample` ask of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pgen.utils.formats import Format


@dataclass(frozen=True)
class DeployRequest:
    """out: folder to write into. checkpoint: ``best``, ``last`` or a step. data: source to encode; None: the training data.
    decoder: auto-encoder run, for a generator of codes that has none of its own."""

    out: Path
    checkpoint: str = "best"
    data: str | None = None
    data_root: str | None = None
    decoder: str | None = None
    batch_size: int = 256
    overwrite: bool = False


@dataclass(frozen=True)
class SampleRequest:
    """n images drawn with ``seed`` into ``out``, in ``format`` (None: the one that its name means), and a picture of the first ones into
    ``grid``."""

    n: int
    out: Path
    seed: int = 0
    grid: Path | None = None
    checkpoint: str = "best"
    decoder: str | None = None
    batch_size: int = 256
    overwrite: bool = False
    format: Format | None = None
