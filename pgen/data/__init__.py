"""Detector images: open, write, transform, split and simulate them.

``open_images`` opens files of many formats (LArCV, HDF5, npy, npz, torch, PNG, ...) as an
:class:`ImageSet`; ``ArrayImages`` makes one of an array; ``write_images`` writes one. Example::

    from pgen.data import open_images, split

    images = open_images("larcv.root:plane=2")
    train, held_out = split(images, 0.1)
    train[0]  # float32 (C, H, W)

Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgen.data.formats.codes import load_codes as load_codes
    from pgen.data.images import ArrayImages as ArrayImages
    from pgen.data.images import ImageSet as ImageSet
    from pgen.data.images import read_all as read_all
    from pgen.data.images import subset as subset
    from pgen.data.io.sources import open_images as open_images
    from pgen.data.io.sources import open_targets as open_targets
    from pgen.data.io.write import append_images as append_images
    from pgen.data.io.write import write_images as write_images
    from pgen.data.latents import LatentCodes as LatentCodes
    from pgen.data.processing.summary import describe as describe
    from pgen.data.simulation.generate import simulate as simulate
    from pgen.data.sparse import SparseImages as SparseImages
    from pgen.data.transforms.charge import ChargeTransform as ChargeTransform
    from pgen.data.transforms.charge_scales import Scale as Scale
    from pgen.data.transforms.crop import crop as crop
    from pgen.data.transforms.latent_scaler import LatentScaler as LatentScaler
    from pgen.data.transforms.split import split as split
    from pgen.data.views import ConcatImages as ConcatImages

_NAMES = {
    "formats.codes": ("load_codes",),
    "images": ("ArrayImages", "ImageSet", "read_all", "subset"),
    "io.sources": ("open_images", "open_targets"),
    "io.write": ("append_images", "write_images"),
    "latents": ("LatentCodes",),
    "processing.summary": ("describe",),
    "simulation.generate": ("simulate",),
    "sparse": ("SparseImages",),
    "transforms.charge": ("ChargeTransform",),
    "transforms.charge_scales": ("Scale",),
    "transforms.crop": ("crop",),
    "transforms.latent_scaler": ("LatentScaler",),
    "transforms.split": ("split",),
    "views": ("ConcatImages",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
