"""Bring training data to the device: batches of samples in a seeded order, or all targets at once."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pgen.data.io.sources import open_images
from pgen.data.processing.parallel import exit_with_parent
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.augment import augment
from pgen.engine.dataloading.dataset import TrainingDataset
from pgen.engine.dataloading.device_cache import SparseImageCache
from pgen.engine.distributed.group import BatchShard, ProcessGroup
from pgen.engine.runtime.device import room_for_data
from pgen.engine.runtime.seeding import generator
from pgen.engine.runtime.signals import STOPPING
from pgen.errors import ConfigError, DataError, PgenError, option
from pgen.plugins.specs import DataInfo


class Batch(NamedTuple):
    """A micro-batch on the device."""

    shard: BatchShard  #: its rows among those of the whole batch
    samples: Tensor  #: (n, ...) in model space, or all targets
    condition: Tensor | None  #: (n, K) encoded conditions; None without `condition`


class BatchLoader:
    """Loads batches epoch after epoch, from any step on; the order follows from seed and epoch.

    Of each batch it yields this rank's shards, `accumulate` of them. Data that fit on the device
    (:func:`pgen.engine.runtime.device.room_for_data`) stay there, as their nonzero pixels where these
    are known to take at most a quarter of the memory; others, and all with `num_workers`, are read
    batch by batch.
    """

    def __init__(self, dataset: TrainingDataset, settings: TrainConfig, device: torch.device, group: ProcessGroup | None = None) -> None:
        size, count = settings.batch_size, len(dataset)
        self.steps_per_epoch = count // size if settings.drop_last else -(-count // size)
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"{option('batch_size', size)} is larger than the {count} samples, and {option('drop_last')} leaves no batch; lower one or "
                "drop the other."
            )
        self._dataset, self._settings, self._device, self._group = dataset, settings, device, group or ProcessGroup()
        smallest = size if settings.drop_last or count % size == 0 else count % size
        if smallest < (needed := self._group.count * settings.accumulate):
            raise ConfigError(
                f"{option('batch_size', size)}: {count} samples leave a last batch of {smallest}, expected one for each of "
                f"{self._group.count} ranks times {option('accumulate', settings.accumulate)} (at least {needed}); pass "
                f"{option('drop_last')} or another size."
            )
        self._cache: Callable[[Tensor], Tensor] | None = None  # indices to samples, where all data are on the device
        # Ranks on one host share its memory; each has a GPU of its own.
        holders = self._group.count if device.type == "cpu" else 1
        room = 0 if settings.num_workers else room_for_data(device, holders)
        # Nonzero pixels are collected on the host.
        if dataset.sparse_nbytes is not None and dataset.sparse_nbytes <= min(room, room_for_data(torch.device("cpu"), self._group.count)):
            self._cache = SparseImageCache(dataset.sparse(), dataset.shape, device).__getitem__
        elif dataset.nbytes <= room:
            samples = dataset.tensor(device=device)
            self._cache = lambda indices: samples[indices.to(device)]

    def stream(self, step: int) -> Generator[Batch]:
        """Yield the micro-batches of step, step + 1, ... without end; close it to end worker processes."""
        # Two iterators, since loading runs ahead.
        order, order_of_conditions = self._indices(step), self._indices(step)
        batches = (self._cache(indices) for indices in order) if self._cache else self._load(order)
        condition = self._dataset.condition
        with closing(batches):
            for number in itertools.count(step):
                for shard in self._shards(number):
                    samples = augment(next(batches), self._settings, number, shard)
                    yield Batch(shard, samples, None if condition is None else condition[next(order_of_conditions)].to(self._device))

    def _indices(self, step: int) -> Iterator[Tensor]:
        return (shard.take(indices) for number, indices in enumerate(self._order(step), step) for shard in self._shards(number))

    def _shards(self, step: int) -> list[BatchShard]:
        start = step % self.steps_per_epoch * self._settings.batch_size
        size = min(self._settings.batch_size, len(self._dataset) - start)
        return self._group.shards(size, self._settings.accumulate)

    def _order(self, step: int) -> Iterator[Tensor]:
        """Yield the indices of each batch from ``step`` on, without end."""
        count, size = len(self._dataset), self._settings.batch_size
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
            _Samples(self._dataset, self._settings),
            batch_sampler=order,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_identity,
            pin_memory=on_gpu,
            # A library's threads do not survive a fork; a fresh process opens its own file handles.
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=partial(_start_worker, os.getpid()),
        )
        # Ctrl-C, a closed terminal and a scheduler's SIGTERM reach all processes of a job. The workers must live until the last batch has
        # been used, so they inherit blocked signals. (Python unblocks them when it starts its resource tracker, so that comes first.)
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
            # Which of them depends on what the process was doing when it died.
            if isinstance(error, PgenError) or (isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker")):
                raise
            raise DataError(
                f"{option('num_workers', workers)}: a process that reads {self._settings.source} died ({type(error).__name__}: {error}), "
                f"perhaps for lack of memory. Use fewer, and resume with {option('resume')}."
            ) from error
        finally:
            if workers:
                # A traceback may keep the iterator, and with it processes that no signal ends, for which Python would wait at exit.
                # A worker that crashes while it ends, as libraries' threads may make it, takes nothing with it.
                with suppress(RuntimeError):
                    batches._shutdown_workers()  # type: ignore[attr-defined]


class TargetLoader:
    """Holds a shard of the targets on the device, and the conditions of all.

    Latent codes that have a spread are sampled again in each epoch, each from its own normal distribution.
    """

    def __init__(self, dataset: TrainingDataset, shard: BatchShard, device: torch.device, seed: int, *, sparse: bool) -> None:
        self._shard, self._device, self._seed = shard, device, seed
        self._targets = dataset.targets(shard, device, sparse=sparse)
        self.condition = None if dataset.condition is None else dataset.condition.to(device)
        self._spread = None if dataset.spread is None else shard.take(dataset.spread).to(device)

    def stream(self, epochs_done: Callable[[], float]) -> Generator[Tensor]:
        """Yield the targets of each step without end; the same tensor while they do not change."""
        if self._spread is None:
            while True:
                yield self._targets
        sampled_epoch, targets = -1, self._targets
        while True:
            if (epoch := int(epochs_done())) != sampled_epoch:
                sampled_epoch = epoch
                # Noise for all targets, so that it does not depend on how they are divided.
                size = (self._shard.total, self._targets.shape[1])
                noise = torch.randn(size, generator=generator(self._seed, "codes", epoch, self._device), device=self._device)
                targets = self._targets + self._spread * self._shard.take(noise)
            yield targets


class _Samples(Dataset):
    """Lets a DataLoader read a whole batch at once, with one file access instead of many."""

    def __init__(self, data: TrainingDataset, settings: TrainConfig) -> None:
        self._data, self._settings = data, settings

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker opens the data itself: open files cannot be sent to it.
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
    """Data that a worker could not open: it returns the error in place of every batch."""

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


def _start_worker(parent: int, number: int) -> None:
    exit_with_parent(parent)


def _identity(batch: Any) -> Any:
    return batch
