"""Sources of images, the simulator, transforms, crops, splits and codes. Names are imported on first use.

``crop``, ``simulate`` and ``split`` bear their modules' names and are imported from them: ``from pgen.data.transforms.split import split``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgen.data.formats.codes import LatentCodes as LatentCodes
    from pgen.data.formats.codes import load_codes as load_codes
    from pgen.data.images import ArrayImages as ArrayImages
    from pgen.data.images import ImageSet as ImageSet
    from pgen.data.images import chunks as chunks
    from pgen.data.images import read_all as read_all
    from pgen.data.images import subset as subset
    from pgen.data.io.sources import open_images as open_images
    from pgen.data.io.sources import open_targets as open_targets
    from pgen.data.io.write import write_images as write_images
    from pgen.data.processing.summary import describe as describe
    from pgen.data.transforms.charge import ChargeTransform as ChargeTransform

_HOMES = {
    "formats.codes": ("LatentCodes", "load_codes"),
    "images": ("ArrayImages", "ImageSet", "chunks", "read_all", "subset"),
    "processing.summary": ("describe",),
    "io.sources": ("open_images", "open_targets"),
    "transforms.charge": ("ChargeTransform",),
    "io.write": ("write_images",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
