"""Training data in model space: images through their charge transform, latent codes standardised."""

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
from pgen.data.views import cache_in_memory
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.conditions import encode, find_conditions
from pgen.engine.distributed.group import BatchShard
from pgen.engine.runtime.device import room_for_data
from pgen.errors import PgenError, option_name
from pgen.plugins.specs import Condition, DataInfo, ModelSpec
from pgen.utils.resources import require_memory

Samples = TypeVar("Samples", bound=ImageSet | LatentCodes)
#: Fractions of the charge up to this are not worth a line.
NOTICEABLE = 0.02


@dataclass(frozen=True)
class TrainingDataset:
    """What a run trains on. ``read`` gives model space: (n, C, H, W) for images, in [0, 1] or for signed charge in [-1, 1]; (n, D)
    standardised for codes. notes: what the user should know of the charge, a line each."""

    info: DataInfo
    samples: ImageSet | LatentCodes
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.info.count

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample as it is read; a batch holds windows of it where training is on these."""
        return tuple(self.samples.codes.shape[1:]) if isinstance(self.samples, LatentCodes) else self.samples.shape

    @property
    def nbytes(self) -> int:
        return 4 * self.info.count * prod(self.shape)

    def read(self, indices: range | np.ndarray) -> Tensor:
        """Samples at ``indices``, on the CPU."""
        if isinstance(self.samples, LatentCodes):
            assert self.info.codes is not None
            codes = self.samples.codes[torch.as_tensor(np.asarray(indices))]
            return (codes - torch.tensor(self.info.codes["mean"])) / torch.tensor(self.info.codes["std"])
        assert self.info.transform is not None
        return ChargeTransform.from_dict(self.info.transform).forward(torch.from_numpy(self.samples.read(indices)))

    @cached_property
    def condition(self) -> Tensor | None:
        """(N, K), on the CPU: what the model is told of all samples' labels; None without ``--condition``."""
        return encode(self.info.conditions, self.samples.labels) if self.info.conditions else None

    @property
    def spread(self) -> Tensor | None:
        """(N, D), on the CPU: how far each code may lie from where ``read`` has it, in the same units. None without such"""
        if not isinstance(self.samples, LatentCodes) or self.samples.spread is None:
            return None
        return self.samples.spread / self.samples.std

    def tensor(self, rows: range | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Read all of it, or some rows that follow each other, onto a device, of which the host never holds more than a part."""
        rows = rows or range(len(self))
        samples = torch.empty(len(rows), *self.shape, device=device)
        step = max(1, CHUNK_BYTES // (4 * prod(self.shape)))
        for start in range(0, len(rows), step):
            samples[start : start + step] = self.read(rows[start : start + step])
        return samples

    @property
    def lit_nbytes(self) -> int | None:
        """Bytes of the lit pixels alone, where these are known to take a quarter of the memory at most."""
        counts = None if isinstance(self.samples, LatentCodes) else self.samples.nonzero_counts
        found = None if counts is None else 8 * int(counts.sum())
        return found if found is not None and 4 * found <= self.nbytes else None

    def lit(self, rows: range | None = None) -> SparseImages:
        """The lit pixels of all images, or of some that follow each other, in model space. (No transform lights a pixel without charge.)"""
        assert not isinstance(self.samples, LatentCodes) and self.info.transform is not None
        transform = ChargeTransform.from_dict(self.info.transform)
        parts = [
            part._replace(flat_index=part.flat_index.astype(np.int32), value=transform.forward(torch.from_numpy(part.value)).numpy())
            for part in (self.samples if rows is None else subset(self.samples, rows)).sparse_chunks()
        ]
        return SparseImages.concatenate(parts)

    def targets(self, part: BatchShard, device: torch.device | str = "cpu", *, sparse: bool) -> Tensor:
        """A part of it (n, ...) on a device; with ``sparse`` and mostly dark images a CSR tensor (n, D) of their nonzero pixels. UserError
        where memory does not suffice."""
        rows = range(part.first, part.first + part.count)
        on_host = sparse and self.lit_nbytes is not None
        if on_host or torch.device(device).type == "cpu":
            # Nonzero pixels have places of 64 bits here, and are there twice while they are put together.
            needed = 3 * self.lit_nbytes if on_host and self.lit_nbytes is not None else self.nbytes
            require_memory(needed * part.count // len(self), self.info.name, "all targets are in memory at once: train on fewer")
        if not on_host:
            return self.tensor(rows, device)
        lit = self.lit(rows)
        starts, places, values = map(torch.from_numpy, (lit.offsets, lit.flat_index.astype(np.int64), lit.value))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            targets = torch.sparse_csr_tensor(starts, places, values, (part.count, self.info.size), check_invariants=True)
            return targets.to(device)

    def decoder(self) -> Path | None:
        """The decoder of latent codes, where it lies beside them as `pgen deploy` writes it."""
        return self.samples.decoder if isinstance(self.samples, LatentCodes) else None


def open_training_data(settings: TrainConfig, spec: ModelSpec, ranks: int = 1) -> TrainingDataset:
    """Open what the settings name and fit the transform, in one of ``ranks`` processes. UserError where source and model do not fit
    together."""
    if settings.condition is not None and not spec.conditional:
        raise PgenError(f"--condition {settings.condition}: model {spec.name!r} takes in no labels; leave it out.")
    if spec.inputs == "images":
        if settings.targets is not None:
            raise PgenError(f"Model {spec.name!r} learns from images; give them with --data instead of --targets {settings.targets}.")
        if settings.source is None:
            raise PgenError(
                f"Model {spec.name!r} needs training images; give them with --data SRC, for example --data simulate:n=2000,size=64."
            )
        return _of_images(open_images(settings.source, data_root=settings.data_root, max_skipped=settings.max_skipped), settings, ranks)
    source = settings.targets or settings.source
    if source is None or (settings.targets and settings.source):
        raise PgenError(f"Model {spec.name!r} needs one set of targets: --targets codes.pt, or images by --targets or --data.")
    targets = open_targets(source, data_root=settings.data_root, max_skipped=settings.max_skipped)
    # All targets lie on the device; and codes have been through their transform.
    idle = ["num_workers", "drop_last", "accumulate", "flip", "crop"]
    idle += ["threshold", "clip", "scale", "max_skipped"] if isinstance(targets, LatentCodes) else []
    usual = {name: spec.settings.get(name, TrainConfig.model_fields[name].default) for name in idle}
    if given := [f"{option_name(name)} {getattr(settings, name)}" for name in idle if getattr(settings, name) != usual[name]]:
        raise PgenError(f"{', '.join(given)}: of no effect where {spec.name!r} is fitted to {source}; leave it out.")
    return _of_codes(targets, source, settings) if isinstance(targets, LatentCodes) else _of_images(targets, settings, ranks)


def open_held_out(settings: TrainConfig, info: DataInfo, ranks: int = 1) -> TrainingDataset | None:
    """The held-out set in the model space that ``info`` tells of, or None. UserError where its kind or shape is another."""
    if settings.held_out is None or settings.best_by is not None:
        return None  # or it is not the model that looks at it
    opened = open_targets(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped)
    found = keep_in_memory(opened, settings, ranks)
    check_held_out(found, settings.held_out, info, info.fingerprint)
    notes = () if isinstance(found, LatentCodes) else _notes_of_held_out(found, info, f"--held-out {settings.held_out}")
    return TrainingDataset(replace(info, count=len(found), name=settings.held_out, fingerprint=found.fingerprint), found, notes)


def check_held_out(held_out: Samples, source: str, expected: DataInfo, trained_on: str, what: str = "the training data are") -> None:
    """UserError where held-out samples cannot judge a model.

    Args:
        held_out: the samples, given as ``--held-out source``.
        expected: of which shape and unit they must be, as ``what``.
        trained_on: fingerprint of the samples that the model learns from, which they must not be.
    """
    fitting(held_out, expected, f"--held-out {source}", what)
    if held_out.fingerprint == trained_on:
        raise PgenError(f"--held-out {source} holds the training data itself; name images that the model does not see.")


def count_shared(held_out: ImageSet | LatentCodes | None, training: ImageSet | LatentCodes) -> tuple[int, int]:
    """How many held-out images are training images to the last bit, and of how many, blank ones aside. None are of sets that are not in
    memory and would have to be read for it."""
    if not (isinstance(held_out, ArrayImages | SparseImageSet) and isinstance(training, ArrayImages | SparseImageSet)):
        return 0, 0
    known = set(_digests(training))
    is_known = [digest in known for digest in _digests(held_out)]
    return sum(is_known), len(is_known)


def _digests(images: ImageSet) -> Iterator[bytes]:
    for lit in images.sparse_chunks():
        places, charges = np.ascontiguousarray(lit.flat_index, "<i8"), np.ascontiguousarray(lit.value, "<f4")
        for start, stop in itertools.pairwise(lit.offsets):
            if stop > start:
                yield hashlib.blake2b(places[start:stop].tobytes() + charges[start:stop].tobytes()).digest()


def fitting(samples: ImageSet | LatentCodes, wanted: ImageSet | DataInfo, source: str, what: str) -> None:
    """UserError, of ``source``, for samples of another shape or unit than are ``wanted``, as ``what``: "the training images have"."""
    kind = "codes" if isinstance(samples, LatentCodes) else "images"
    shape = tuple(samples.codes.shape[1:]) if isinstance(samples, LatentCodes) else samples.shape
    wrong = []
    if shape != wanted.shape:
        wrong.append(f"{kind} of {shape}, wanted {wanted.shape}")
    if not isinstance(samples, LatentCodes) and samples.unit != wanted.unit:
        wrong.append(f"charge in {samples.unit!r}, wanted {wanted.unit!r}")
    if wrong:
        raise PgenError(f"{source}: found {' and '.join(wrong)} as {what}; crop or convert one of them.")


def keep_in_memory(samples: Samples, settings: TrainConfig, ranks: int) -> Samples:
    """Images in memory where they fit well, since the fingerprint, the transform and training would each read them; not those that
    other processes read."""
    if isinstance(samples, LatentCodes) or settings.num_workers:
        return samples
    return cache_in_memory(samples, room_for_data(torch.device("cpu"), ranks))  # type: ignore[return-value]


def _of_images(images: ImageSet, settings: TrainConfig, ranks: int) -> TrainingDataset:
    images = keep_in_memory(images, settings, ranks)
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
        conditions=_conditions(images, images.name, settings),
    )
    if settings.window is not None:
        channels, rows, columns = images.shape
        if settings.window[0] > rows or settings.window[1] > columns:
            raise PgenError(f"--crop {settings.crop} does not fit into the images of {rows} x {columns} of {settings.source}; give less.")
        info = replace(info, shape=(channels, *settings.window))
    return TrainingDataset(info, images, _notes(transform, balance))


def _notes(transform: ChargeTransform, balance: ChargeBalance) -> tuple[str, ...]:
    """What the user should know of the training images' charge: its signs, and what zero suppression and clipping remove."""
    charge = "|charge|" if balance.signed else "the charge"
    notes = []
    if balance.signed:
        negative = f"signed charge: {percent(balance.negative)} of |charge| is negative; the model sees values from -1 to 1"
        notes.append(negative + ("; to set it to 0, add negative=drop to the source" if balance.negative < NOTICEABLE else ""))
    if balance.suppressed > NOTICEABLE:
        notes.append(f"--threshold {transform.threshold:g} sets {percent(balance.suppressed)} of {charge} to 0")
    if balance.clipped > NOTICEABLE:
        notes.append(f"--clip {transform.clip:g} removes {percent(balance.clipped)} of {charge}")
    return tuple(notes)


def _notes_of_held_out(images: ImageSet, info: DataInfo, source: str) -> tuple[str, ...]:
    assert info.transform is not None
    negative = ChargeTransform.from_dict(info.transform).balance(images).negative
    if negative and not info.signed:
        lost = f"{percent(negative)} of its |charge| is negative and counts as 0"
        return (f"warning: {source}: {lost}, since the training images hold no negative charge",)
    if info.signed and not negative:
        return (f"warning: {source}: holds no negative charge, the training images do; were both prepared alike?",)
    return ()


def percent(fraction: float) -> str:
    """A fraction for people."""
    return f"{fraction:.2%}" if fraction < 0.01 else f"{fraction:.1%}"


def _conditions(samples: ImageSet | LatentCodes, source: str, settings: TrainConfig) -> tuple[Condition, ...]:
    if settings.condition is None:
        return ()
    try:
        return find_conditions(settings.condition, samples.labels, source)
    except PgenError as error:
        # Why labels are not there that the file might have been thought to hold.
        note = getattr(samples, "about", {}).get("labels_from")
        raise PgenError(f"{error} Labels: {note}." if note else str(error)) from None


def _of_codes(codes: LatentCodes, source: str, settings: TrainConfig) -> TrainingDataset:
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
        conditions=_conditions(codes, source, settings),
    )
    return TrainingDataset(info, codes)
