"""The order in which training data are visited, and two ways to bring them to the device."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pgen.data.io.sources import open_images
from pgen.data.processing.parallel import exit_with_parent
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.augment import augmented
from pgen.engine.dataloading.dataset import TrainingDataset
from pgen.engine.dataloading.device_cache import SparseImageCache
from pgen.engine.distributed.group import BatchShard, ProcessGroup
from pgen.engine.runtime.device import room_for_data
from pgen.engine.runtime.seeding import generator
from pgen.engine.runtime.signals import STOPPING
from pgen.errors import PgenError
from pgen.plugins.specs import DataInfo


class Batches:
    """Batches of model-space samples, epoch after epoch, from any step on. The order follows from (seed, epoch) alone. Of each batch there
    come the parts that are this rank's, ``--accumulate`` of them.

    Data for which the device has room (:func:`pgen.engine.runtime.device.room_for_data`) live there, as their nonzero pixels where these are known
    to take a quarter of the memory at most; otherwise, or with ``num_workers``, they are loaded.
    """

    def __init__(self, data: TrainingDataset, settings: TrainConfig, device: torch.device, ranks: ProcessGroup | None = None) -> None:
        size = settings.batch_size
        self.steps_per_epoch = len(data) // size if settings.drop_last else -(-len(data) // size)
        if self.steps_per_epoch == 0:
            raise PgenError(
                f"--batch-size {size} is larger than the {len(data)} samples, and --drop-last leaves no batch; lower one or drop the other."
            )
        self._data, self._settings, self._device, self._ranks = data, settings, device, ranks or ProcessGroup()
        smallest = size if settings.drop_last or len(data) % size == 0 else len(data) % size
        if smallest < (pieces := self._ranks.count * settings.accumulate):
            raise PgenError(
                f"--batch-size {size}: {len(data)} samples leave a last batch of {smallest}, wanted one for each of "
                f"{self._ranks.count} ranks times --accumulate {settings.accumulate} (at least {pieces}); pass --drop-last or another size."
            )
        self._here: Callable[[Tensor], Tensor] | None = None  # indices to a batch, where all data are on the device
        # Ranks on one host share its memory; each has a GPU of its own.
        holders = self._ranks.count if device.type == "cpu" else 1
        room = 0 if settings.num_workers else room_for_data(device, holders)
        # Nonzero pixels are put together on the host.
        if data.lit_nbytes is not None and data.lit_nbytes <= min(room, room_for_data(torch.device("cpu"), self._ranks.count)):
            self._here = SparseImageCache(data.lit(), data.shape, device).__getitem__
        elif data.nbytes <= room:
            samples = data.tensor(device=device)
            self._here = lambda indices: samples[indices.to(device)]

    def stream(self, step: int) -> Generator[tuple[BatchShard, Tensor, Tensor | None]]:
        """The parts of the batches of step, step + 1, ... without end, and what is to be told of their labels. Close it to end the loader's
        processes."""
        # Twice, since loading runs ahead.
        order, again = self._rows(step), self._rows(step)
        batches = (self._here(indices) for indices in order) if self._here else self._load(order)
        told = self._data.condition
        with closing(batches):
            for number in itertools.count(step):
                for part in self._parts(number):
                    batch = augmented(next(batches), self._settings, number, part)
                    yield part, batch, None if told is None else told[next(again)].to(self._device)

    def _rows(self, step: int) -> Iterator[Tensor]:
        return (part.of(indices) for number, indices in enumerate(self._order(step), step) for part in self._parts(number))

    def _parts(self, step: int) -> list[BatchShard]:
        begin = step % self.steps_per_epoch * self._settings.batch_size
        size = min(self._settings.batch_size, len(self._data) - begin)
        return self._ranks.parts(size, self._settings.accumulate)

    def _order(self, step: int) -> Iterator[Tensor]:
        """Indices of each batch from ``step`` on, without end."""
        count, size = len(self._data), self._settings.batch_size
        epoch, first = divmod(step, self.steps_per_epoch)
        while True:
            if self._settings.shuffle:
                order = torch.randperm(count, generator=generator(self._settings.seed, "order", epoch))
            else:
                order = torch.arange(count)
            yield from order.split(size)[first : self.steps_per_epoch]
            epoch, first = epoch + 1, 0

    def _load(self, order: Iterator[Tensor]) -> Generator[Tensor]:
        on_gpu = self._device.type == "cuda"
        workers = self._settings.num_workers
        loader = DataLoader(
            _Samples(self._data, self._settings),
            batch_sampler=order,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_is,
            pin_memory=on_gpu,
            # A library's threads do not survive a fork; a fresh process opens its own file handles.
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=partial(_begin_worker, os.getpid()),
        )
        # Ctrl-C, a closed terminal and a scheduler's SIGTERM reach all processes of a job. The workers must live until the last batch has
        # been used: they inherit that the signals are blocked. (Python unblocks them when it starts its resource tracker, so that comes
        # first.)
        if workers:
            resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            batches = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            for batch in batches:
                if isinstance(batch, PgenError):
                    raise batch
                yield batch.to(self._device, non_blocking=on_gpu)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Which of them depends on what the process was about when it died.
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
                raise
            raise PgenError(
                f"--num-workers {workers}: a process that reads {self._settings.source} died ({type(error).__name__}: {error}), "
                "perhaps for lack of memory. Use fewer, and go on with --resume."
            ) from error
        finally:
            if workers:
                # A traceback may keep the iterator, and with it processes that no signal ends, for which Python would wait at exit.
                # A worker that crashes while it ends, as libraries' threads may make it, takes nothing with it.
                with suppress(RuntimeError):
                    batches._shutdown_workers()  # type: ignore[attr-defined]


class _Samples(Dataset):
    """Lets a DataLoader read a whole batch at once, which is one access to the file instead of many."""

    def __init__(self, data: TrainingDataset, settings: TrainConfig) -> None:
        self._data, self._settings = data, settings

    def __reduce__(self) -> tuple[Any, ...]:
        # What travels to a worker is the way to the data: open files cannot.
        return _open_samples, (self._data.info, self._settings)

    def __getitems__(self, indices: list[Tensor]) -> Tensor | PgenError:
        try:
            return self._data.read(np.asarray([int(index) for index in indices]))
        except PgenError as error:
            # As a value: raised in a worker it would reach the user as a traceback inside another error.
            return error

    def __getitem__(self, index: int) -> Tensor:
        return self._data.read(np.asarray([index]))[0]

    def __len__(self) -> int:
        return len(self._data)


class _Unopened(Dataset):
    """Data that a worker could not open: the error, in place of every batch."""

    def __init__(self, error: PgenError) -> None:
        self._error = error

    def __getitems__(self, indices: list[Tensor]) -> PgenError:
        return self._error


def _open_samples(info: DataInfo, settings: TrainConfig) -> Dataset:
    assert settings.source is not None
    try:
        return _Samples(
            TrainingDataset(info, open_images(settings.source, data_root=settings.data_root, max_skipped=settings.max_skipped)), settings
        )
    except PgenError as error:
        return _Unopened(error)


def _begin_worker(parent: int, number: int) -> None:
    exit_with_parent(parent)


def _as_is(batch: Any) -> Any:
    return batch
