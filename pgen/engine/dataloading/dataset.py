"""Training data in model space: transformed images or standardised latent codes."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pgen.data.images import CHUNK_BYTES, ArrayImages, ImageSet, SparseImageSet, subset
from pgen.data.io.sources import open_images, open_targets
from pgen.data.latents import LatentCodes
from pgen.data.sparse import SparseImages
from pgen.data.transforms.charge import ChargeBalance, ChargeTransform, fit_transform
from pgen.data.transforms.latent_scaler import LatentScaler
from pgen.data.views import cache_in_memory
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.conditions import encode, find_conditions
from pgen.engine.distributed.group import BatchShard
from pgen.engine.runtime.device import room_for_data
from pgen.errors import ConfigError, DataError, option
from pgen.plugins.specs import Condition, DataInfo, ModelSpec
from pgen.utils.resources import require_memory

Samples = TypeVar("Samples", bound=ImageSet | LatentCodes)
#: Smaller fractions of the charge are not reported.
NOTICEABLE = 0.02


@dataclass(frozen=True)
class TrainingDataset:
    """The samples of a run in model space.

    Images (n, C, H, W) are in [0, 1], or for signed charge in [-1, 1]; latent codes (n, D) are
    standardised.

    Attributes:
        info: Facts about the samples.
        samples: The samples as they were opened.
        notes: What the user should know about their charge, one line each.
    """

    info: DataInfo
    samples: ImageSet | LatentCodes
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.info.count

    @cached_property
    def space(self) -> ChargeTransform | LatentScaler:
        """The map to model space."""
        if self.info.codes is not None:
            return LatentScaler.from_dict(self.info.codes)
        assert self.info.transform is not None
        return ChargeTransform.from_dict(self.info.transform)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample as it is read; with `crop` a batch has windows of it."""
        return self.samples.shape if self.info.codes is None else self.info.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all samples, dense."""
        return 4 * self.info.count * prod(self.shape)

    def read(self, indices: range | np.ndarray) -> Tensor:
        """Read samples in model space, on the CPU."""
        if isinstance(self.samples, LatentCodes):
            return self.space.forward(self.samples.codes[torch.as_tensor(np.asarray(indices))])
        return self.space.forward(torch.from_numpy(self.samples.read(indices)))

    @cached_property
    def condition(self) -> Tensor | None:
        """Encoded conditions of all samples (N, K), on the CPU; None without `condition`."""
        return encode(self.info.conditions, self.samples.labels) if self.info.conditions else None

    @property
    def spread(self) -> Tensor | None:
        """Standard deviation of each latent code in model space (N, D), on the CPU.

        None where codes are points.
        """
        spread = getattr(self.samples, "spread", None)
        return None if spread is None else spread / self.samples.std  # type: ignore[union-attr]

    def tensor(self, rows: range | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Read all samples, or consecutive ``rows``, onto a device in parts."""
        rows = rows or range(len(self))
        samples = torch.empty(len(rows), *self.shape, device=device)
        step = max(1, CHUNK_BYTES // (4 * prod(self.shape)))
        for start in range(0, len(rows), step):
            samples[start : start + step] = self.read(rows[start : start + step])
        return samples

    @property
    def sparse_nbytes(self) -> int | None:
        """Bytes of the nonzero pixels, if known to be at most a quarter of all; else None."""
        counts = self.samples.nonzero_counts if self.info.codes is None else None  # type: ignore[union-attr]
        nbytes = None if counts is None else 8 * int(counts.sum())
        return nbytes if nbytes is not None and 4 * nbytes <= self.nbytes else None

    def sparse(self, rows: range | None = None) -> SparseImages:
        """Read the nonzero pixels of all images, or of consecutive ``rows``, in model space.

        (No transform maps 0 to another value.)
        """
        images: ImageSet = self.samples  # type: ignore[assignment]
        parts = [
            part._replace(flat_index=part.flat_index.astype(np.int32), value=self.space.forward(torch.from_numpy(part.value)).numpy())
            for part in (images if rows is None else subset(images, rows)).sparse_chunks()
        ]
        return SparseImages.concatenate(parts)

    def targets(self, shard: BatchShard, device: torch.device | str = "cpu", *, sparse: bool) -> Tensor:
        """Read a shard of the samples as targets of transport.

        Args:
            shard: Which rows.
            device: Where they go.
            sparse: Whether mostly empty images may come as a CSR tensor of their nonzero pixels.

        Returns:
            (n, ...) dense, or (n, C * H * W) CSR.

        Raises:
            DeviceError: Memory does not suffice.
        """
        rows = range(shard.first, shard.first + shard.count)
        on_host = sparse and self.sparse_nbytes is not None
        if on_host or torch.device(device).type == "cpu":
            # Sparse targets have 64-bit indices, and exist twice while they are put together.
            needed = 3 * self.sparse_nbytes if on_host and self.sparse_nbytes is not None else self.nbytes
            require_memory(needed * shard.count // len(self), self.info.name, "all targets are in memory at once: train on fewer")
        if not on_host:
            return self.tensor(rows, device)
        pixels = self.sparse(rows)
        starts, indices, values = map(torch.from_numpy, (pixels.offsets, pixels.flat_index.astype(np.int64), pixels.value))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            targets = torch.sparse_csr_tensor(starts, indices, values, (shard.count, self.info.size), check_invariants=True)
            return targets.to(device)

    def decoder(self) -> Path | None:
        """Return the decoder of latent codes if it is next to them, as from `pgen deploy`."""
        return self.samples.decoder if isinstance(self.samples, LatentCodes) else None


def open_training_data(settings: TrainConfig, spec: ModelSpec, processes: int = 1) -> TrainingDataset:
    """Open the training data and fit the charge transform.

    Args:
        settings: Name the source.
        spec: The model that is trained.
        processes: How many processes share this machine's memory.

    Raises:
        ConfigError: Source, options and model do not fit together.
    """
    if settings.condition is not None and not spec.conditional:
        raise ConfigError(f"{option('condition', settings.condition)}: model {spec.name!r} is not conditional; leave it out.")
    if spec.inputs == "images":
        if settings.targets is not None:
            raise ConfigError(
                f"Model {spec.name!r} learns from images; give them with {option('data')} instead of {option('targets', settings.targets)}."
            )
        if settings.source is None:
            raise ConfigError(
                f"Model {spec.name!r} needs training images; give them with {option('data', 'SRC')}, "
                f"for example {option('data', 'simulate:n=2000,size=64')}."
            )
        images = open_images(settings.source, data_root=settings.data_root, max_skipped=settings.max_skipped)
        return _image_dataset(images, settings, processes)
    source = settings.targets or settings.source
    if source is None or (settings.targets and settings.source):
        raise ConfigError(
            f"Model {spec.name!r} needs one set of targets: {option('targets', 'codes.pt')}, or images by {option('targets')} or "
            f"{option('data')}."
        )
    targets = open_targets(source, data_root=settings.data_root, max_skipped=settings.max_skipped)
    # All targets are on the device; and codes have been through their transform.
    unused = ["num_workers", "drop_last", "accumulate", "flip", "crop"]
    unused += ["threshold", "clip", "scale", "max_skipped"] if isinstance(targets, LatentCodes) else []
    defaults = {name: spec.settings.get(name, TrainConfig.model_fields[name].default) for name in unused}
    if changed := [option(name, getattr(settings, name)) for name in unused if getattr(settings, name) != defaults[name]]:
        raise ConfigError(f"{', '.join(changed)}: of no effect where {spec.name!r} is fitted to {source}; leave it out.")
    if isinstance(targets, LatentCodes):
        return _latent_dataset(targets, source, settings)
    return _image_dataset(targets, settings, processes)


def open_held_out(settings: TrainConfig, info: DataInfo, processes: int = 1) -> TrainingDataset | None:
    """Open the held-out set in the model space of the training data.

    Returns:
        The set; None without `held_out`, or where a metric is computed on it instead of the model's
        own loss.

    Raises:
        DataError: Its kind, shape or unit is another.
    """
    if settings.held_out is None or settings.best_by is not None:
        return None
    samples = open_targets(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
    samples = keep_in_memory(samples, settings, processes)
    check_held_out(samples, settings.held_out, info, info.fingerprint)
    held_out = TrainingDataset(replace(info, count=len(samples), name=settings.held_out, fingerprint=samples.fingerprint), samples)
    if isinstance(samples, LatentCodes):
        return held_out
    return replace(held_out, notes=_held_out_notes(held_out, option("held_out", settings.held_out)))


def check_held_out(held_out: Samples, source: str, expected: DataInfo, trained_on: str, what: str = "the training data are") -> None:
    """Raise DataError if held-out samples cannot be compared with a model's.

    Args:
        held_out: The samples, given as `held_out=source`.
        source: Their name.
        expected: Shape and unit that they must have.
        trained_on: Fingerprint of the training data, which they must not be.
        what: Whose shape and unit are expected, for the message.
    """
    name = option("held_out", source)
    require_same_kind(held_out, expected, name, what)
    if held_out.fingerprint == trained_on:
        raise DataError(f"{name} holds the training data itself; name images that the model does not see.")


def count_shared(held_out: ImageSet | LatentCodes | None, training: ImageSet | LatentCodes) -> tuple[int, int]:
    """Count held-out images that are equal to a training image; blank ones are left out.

    Returns:
        How many are shared, of how many. (0, 0) for sets that are not in memory.
    """
    if not (isinstance(held_out, ArrayImages | SparseImageSet) and isinstance(training, ArrayImages | SparseImageSet)):
        return 0, 0
    training_digests = set(_digests(training))
    is_shared = [digest in training_digests for digest in _digests(held_out)]
    return sum(is_shared), len(is_shared)


def _digests(images: ImageSet) -> Iterator[bytes]:
    for part in images.sparse_chunks():
        indices, charges = np.ascontiguousarray(part.flat_index, "<i8"), np.ascontiguousarray(part.value, "<f4")
        for start, stop in itertools.pairwise(part.offsets):
            if stop > start:
                yield hashlib.blake2b(indices[start:stop].tobytes() + charges[start:stop].tobytes()).digest()


def require_same_kind(samples: ImageSet | LatentCodes, expected: ImageSet | DataInfo, source: str, what: str) -> None:
    """Raise DataError if samples differ in shape or unit from others.

    Args:
        samples: The samples.
        expected: The others.
        source: Name of the samples.
        what: Whose shape and unit are expected, for the message: "the training images have".
    """
    kind = "codes" if isinstance(samples, LatentCodes) else "images"
    shape = tuple(samples.codes.shape[1:]) if isinstance(samples, LatentCodes) else samples.shape
    problems = []
    if shape != expected.shape:
        problems.append(f"{kind} of {shape}, wanted {expected.shape}")
    if not isinstance(samples, LatentCodes) and samples.unit != expected.unit:
        problems.append(f"charge in {samples.unit!r}, wanted {expected.unit!r}")
    if problems:
        raise DataError(f"{source}: found {' and '.join(problems)} as {what}; crop or convert one of them.")


def keep_in_memory(samples: Samples, settings: TrainConfig, processes: int) -> Samples:
    """Cache images in memory where they fit, since they are read several times.

    Images that worker processes read stay in their file.
    """
    if isinstance(samples, LatentCodes) or settings.num_workers:
        return samples
    return cache_in_memory(samples, room_for_data(torch.device("cpu"), processes))  # type: ignore[return-value]


def _image_dataset(images: ImageSet, settings: TrainConfig, processes: int) -> TrainingDataset:
    images = keep_in_memory(images, settings, processes)
    transform, balance = fit_transform(images, threshold=settings.threshold, clip=settings.clip, scale=settings.scale)
    info = DataInfo(
        kind="images",
        shape=images.shape,
        count=len(images),
        unit=images.unit,
        name=images.name,
        fingerprint=images.fingerprint,
        transform=transform.to_dict(),
        labels=tuple(images.labels),
        conditions=_find_conditions(images, images.name, settings),
    )
    if settings.window is not None:
        channels, rows, columns = images.shape
        if settings.window[0] > rows or settings.window[1] > columns:
            raise ConfigError(
                f"{option('crop', settings.crop)} does not fit into the images of {rows} x {columns} of {settings.source}; give less."
            )
        info = replace(info, shape=(channels, *settings.window))
    return TrainingDataset(info, images, _charge_notes(transform, balance))


def _charge_notes(transform: ChargeTransform, balance: ChargeBalance) -> tuple[str, ...]:
    """Describe the charge of training images: signs, zero suppression and clipping."""
    charge = "|charge|" if balance.signed else "the charge"
    notes = []
    if balance.signed:
        negative = f"signed charge: {percent(balance.negative)} of |charge| is negative; the model sees values from -1 to 1"
        notes.append(negative + ("; to set it to 0, add negative=drop to the source" if balance.negative < NOTICEABLE else ""))
    if balance.suppressed > NOTICEABLE:
        notes.append(f"{option('threshold', f'{transform.threshold:g}')} sets {percent(balance.suppressed)} of {charge} to 0")
    if balance.clipped > NOTICEABLE:
        notes.append(f"{option('clip', f'{transform.clip:g}')} removes {percent(balance.clipped)} of {charge}")
    return tuple(notes)


def _held_out_notes(held_out: TrainingDataset, source: str) -> tuple[str, ...]:
    negative = held_out.space.balance(held_out.samples).negative  # type: ignore[union-attr, arg-type]
    if negative and not held_out.info.signed:
        lost = f"{percent(negative)} of its |charge| is negative and counts as 0"
        return (f"warning: {source}: {lost}, since the training images hold no negative charge",)
    if held_out.info.signed and not negative:
        return (f"warning: {source}: holds no negative charge, the training images do; were both prepared alike?",)
    return ()


def percent(fraction: float) -> str:
    """Format a fraction as per cent, with two decimals below 1 %."""
    return f"{fraction:.2%}" if fraction < 0.01 else f"{fraction:.1%}"


def _find_conditions(samples: ImageSet | LatentCodes, source: str, settings: TrainConfig) -> tuple[Condition, ...]:
    if settings.condition is None:
        return ()
    try:
        return find_conditions(settings.condition, samples.labels, source)
    except ConfigError as error:
        # Why labels are missing that the file seems to hold.
        note = getattr(samples, "about", {}).get("labels_from")
        raise ConfigError(f"{error} Labels: {note}." if note else str(error)) from None


def _latent_dataset(codes: LatentCodes, source: str, settings: TrainConfig) -> TrainingDataset:
    facts = {"mean": codes.mean.tolist(), "std": codes.std.tolist(), "encoder": codes.encoder, "source": codes.source}
    facts["shape"] = list(codes.shape)
    count, dimension = codes.codes.shape
    info = DataInfo(
        kind="codes",
        shape=(dimension,),
        count=count,
        name=source,
        fingerprint=codes.fingerprint,
        codes=facts,
        labels=tuple(codes.labels),
        conditions=_find_conditions(codes, source, settings),
    )
    return TrainingDataset(info, codes)
