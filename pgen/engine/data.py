"""Training data in model space: images through their charge transform, latent codes standardised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pgen.data.codes import Codes, load_codes
from pgen.data.images import ImageSet
from pgen.data.source import open_images, open_targets
from pgen.data.transform import Transform
from pgen.engine.settings import TrainSettings
from pgen.errors import UserError
from pgen.plugins.contract import DataInfo, ModelSpec


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on. ``read`` gives model space: (n, C, H, W) in [0, 1] for images, (n, D) standardised for codes."""

    info: DataInfo
    samples: ImageSet | Codes

    def __len__(self) -> int:
        return self.info.count

    @property
    def nbytes(self) -> int:
        return 4 * self.info.count * self.info.size

    def read(self, indices: range | np.ndarray) -> Tensor:
        """Samples at ``indices``, on the CPU."""
        if isinstance(self.samples, Codes):
            codes = self.samples.codes[torch.as_tensor(np.asarray(indices))]
            return (codes - self.samples.mean) / self.samples.std
        assert self.info.transform is not None
        return Transform.from_dict(self.info.transform).forward(torch.from_numpy(self.samples.read(indices)))

    def tensor(self) -> Tensor:
        """All of it."""
        return torch.cat([self.read(range(start, min(start + 1024, len(self)))) for start in range(0, len(self), 1024)])


def open_training_data(settings: TrainSettings, spec: ModelSpec) -> TrainingData:
    """Open what the settings name and fit the transform. UserError where source and model do not fit together."""
    if spec.inputs == "images":
        if settings.targets is not None:
            raise UserError(f"Model {spec.name!r} learns from images; give them with --data instead of --targets {settings.targets}.")
        if settings.source is None:
            raise UserError(
                f"Model {spec.name!r} needs training images; give them with --data SRC, for example --data simulate:n=2000,size=64."
            )
        return _of_images(open_images(settings.source, data_root=settings.data_root), settings)
    source = settings.targets or settings.source
    if source is None or (settings.targets and settings.source):
        raise UserError(f"Model {spec.name!r} needs one set of targets: --targets codes.pt, or images by --targets or --data.")
    targets = open_targets(source, data_root=settings.data_root)
    return _of_codes(targets, source) if isinstance(targets, Codes) else _of_images(targets, settings)


def open_held_out(settings: TrainSettings, info: DataInfo) -> TrainingData | None:
    """The held-out set in the same model space, or None. UserError where its shape is another."""
    if settings.held_out is None:
        return None
    if info.kind == "codes":
        codes = load_codes(settings.held_out)
        if codes.codes.shape[1:] != info.shape:
            raise UserError(
                f"--held-out {settings.held_out}: found codes of {codes.codes.shape[1]} values, wanted {info.shape[0]} as in the targets."
            )
        return TrainingData(_of_codes(codes, settings.held_out).info, codes)
    images = open_images(settings.held_out, data_root=settings.data_root)
    if images.shape != info.shape:
        raise UserError(f"--held-out {settings.held_out}: found images of {images.shape}, wanted {info.shape} as in the training data.")
    return TrainingData(_info_of_images(images, info.transform), images)


def _of_images(images: ImageSet, settings: TrainSettings) -> TrainingData:
    transform = Transform.fit(images, threshold=settings.threshold, clip=settings.clip, scale=settings.scale)
    return TrainingData(_info_of_images(images, transform.to_dict()), images)


def _info_of_images(images: ImageSet, transform: dict | None) -> DataInfo:
    return DataInfo(
        kind="images",
        shape=images.shape,
        count=len(images),
        unit=images.unit,
        name=images.name,
        fingerprint=images.fingerprint,
        transform=transform,
        labels=tuple(images.labels),
    )


def _of_codes(codes: Codes, source: str) -> TrainingData:
    facts = {"mean": codes.mean.tolist(), "std": codes.std.tolist(), "encoder": codes.encoder, "source": codes.source}
    count, dimension = codes.codes.shape
    info = DataInfo(kind="codes", shape=(dimension,), count=count, name=source, fingerprint=codes.fingerprint, codes=facts)
    return TrainingData(info, codes)
