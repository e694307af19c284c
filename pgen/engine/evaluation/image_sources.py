"""Real and generated images in every form that an evaluation accepts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pgen.data.images import ArrayImages, ImageSet
from pgen.data.io.sources import open_images
from pgen.engine.run import Run

#: A source string such as "images.h5:limit=100", an array or tensor (N, H, W) or (N, C, H, W), or a
#: set of images.
ImageSource: TypeAlias = str | os.PathLike[str] | npt.NDArray | torch.Tensor | ImageSet
#: One of these, a run folder, or a run to sample from.
GeneratedSource: TypeAlias = ImageSource | Run


def open_source(source: ImageSource, *, unit: str = "ADC", data_root: str | None = None) -> ImageSet:
    """Open images in any form.

    Args:
        source: The images.
        unit: Unit of charge of arrays, which have none.
        data_root: Folder in which source strings are looked up.

    Raises:
        DataError: They cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        return open_images(os.fspath(source), data_root=data_root)
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
    return ArrayImages(source, unit=unit) if isinstance(source, np.ndarray) else source


def open_sources(sources: Mapping[str, ImageSource], *, data_root: str | None = None) -> dict[str, ImageSet]:
    """Open several sets of images; arrays have the unit of the first set that has one."""
    opened = {name: open_source(source, data_root=data_root) for name, source in sources.items() if not is_array(source)}
    unit = next(iter(opened.values())).unit if opened else "ADC"
    return {name: opened[name] if name in opened else open_source(source, unit=unit) for name, source in sources.items()}


def is_array(source: Any) -> bool:
    """Whether a source is an array or tensor, which has no unit."""
    return isinstance(source, np.ndarray | torch.Tensor)


def describe_source(source: ImageSource, images: ImageSet) -> str:
    """Return a source as results name it: as it was given, or the name of the set."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else images.name
