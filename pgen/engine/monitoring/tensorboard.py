"""Log to TensorBoard, in the folder ``tensorboard`` of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pgen.engine.monitoring.loggers import Logger


class TensorBoardLogger(Logger):
    """Writes metrics and preview images as TensorBoard events."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        """Log metrics."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_image(self, step: int, name: str, path: Path) -> None:
        """Log a preview image."""
        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
