"""Logger for TensorBoard: `tensorboard --logdir runs` shows all runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pgen.engine.monitoring.loggers import Logger


class TensorBoardLogger(Logger):
    """Writes TensorBoard's event files to ``tensorboard`` in the run directory."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the event file; events after ``step``, of a resumed run, are discarded."""
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def log_scalars(self, step: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def log_image(self, step: int, name: str, path: Path) -> None:
        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
