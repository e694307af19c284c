"""A training session: a run while it is trained, with its processes, data and logs."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy
import torch

from pgen._version import __version__
from pgen.data.io.sources import open_images
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.dataloading.conditions import save_labels
from pgen.engine.dataloading.dataset import TrainingDataset, open_held_out
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.monitoring.loggers import Logger
from pgen.engine.run import Run
from pgen.engine.runtime.progress import log_line
from pgen.errors import PluginError
from pgen.plugins.entry_points import cause
from pgen.utils.files import atomic_write


@dataclass
class TrainingSession:
    """A run while it is trained.

    Attributes:
        run: The run.
        group: The processes that train it together.
        profile: Whether to measure where the time of some steps goes.
        loggers: Where metrics and preview images go besides the run directory.
        stopped_by: Number of the signal that ended training early, or None.
    """

    run: Run
    group: ProcessGroup = field(default_factory=ProcessGroup)
    profile: bool = False
    loggers: list[Logger] = field(default_factory=list)
    stopped_by: int | None = None
    _reported: set[str] = field(default_factory=set, init=False, repr=False)

    @classmethod
    def from_data(cls, run: Run, group: ProcessGroup, dataset: TrainingDataset, held_out: TrainingDataset | None) -> TrainingSession:
        """Begin a session with data that have been opened, which need not be opened again."""
        session = cls(run, group)
        vars(run).update(data=dataset, info=dataset.info)
        vars(session).update(held_out=held_out)
        return session

    @property
    def dataset(self) -> TrainingDataset:
        """The training data."""
        return self.run.data

    @cached_property
    def held_out(self) -> TrainingDataset | None:
        """The held-out data that the model is evaluated on while it trains.

        None without ``held_out`` or with ``best_by``.
        """
        self.run.require_sources("held_out")
        return open_held_out(self.run.settings, self.run.info, self.group.count)

    @cached_property
    def held_out_fingerprint(self) -> str | None:
        """Fingerprint of the held-out data by which checkpoints are compared."""
        settings = self.run.settings
        if settings.held_out is None or self.held_out is not None:
            return self.held_out.info.fingerprint if self.held_out else None
        return open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped).fingerprint

    def log(self, text: str) -> None:
        """Write a line to log.txt and to the "pgen" logger, on rank 0."""
        if self.group.rank == 0:
            self.attempt("log.txt", lambda: self._append(lambda: self.run.folder.append_log(text)))
            log_line(text)

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Write metrics to metrics.jsonl and to all loggers, on rank 0."""
        if self.group.rank == 0:
            self.attempt("metrics.jsonl", lambda: self._append(lambda: self.run.folder.append_metrics({"step": step, **values})))
            for logger in self.loggers:
                logger.log_scalars(step, values)

    def attempt(self, name: str, write: Callable[[], object], errors: type[Exception] = OSError) -> None:
        """Write an output that training does not depend on.

        Failures, as on a full disk, are reported once.

        Args:
            name: What is written, for the report.
            write: Writes it.
            errors: Exceptions that do not end training.
        """
        try:
            write()
        except PluginError:
            raise  # a model that breaks the plug-in API must stop
        except errors as error:
            if name not in self._reported:
                self._reported.add(name)
                reason = error.strerror if isinstance(error, OSError) else cause(error, self.run.plugin.entry.package)
                log_line(f"warning: {name} cannot be written ({reason}); training continues without it")

    def _append(self, write: Callable[[], object]) -> None:
        self.ensure_directory()
        write()

    def ensure_directory(self) -> None:
        """Make the run directory again if someone has removed it during training.

        Raises:
            RunError: Another directory is in its place.
        """
        folder = self.run.folder
        if not folder.is_in_place():
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.acquire_lock()
            self.write_metadata(folder)
            self.log(f"{folder.path} had been removed, and was made again")

    def write_metadata(self, folder: RunDirectory) -> None:
        """Write what makes a directory a run: config.json, decoder and labels."""
        run = self.run
        if (decoder := run.data.decoder()) is not None:
            with atomic_write(folder.decoder) as draft:
                shutil.copyfile(decoder, draft)
        if run.info.conditions:
            save_labels(folder.labels, run.info.conditions, run.data.samples.labels)
        folder.write_config(self.metadata())

    def metadata(self) -> dict[str, Any]:
        """Return the content of config.json."""
        run = self.run
        versions = {"pgen": __version__, "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()}
        entry = run.plugin.entry
        return {
            "model": entry.name,
            "plugin": {"distribution": entry.distribution, "version": entry.version},
            "settings": run.settings.model_dump(mode="json"),
            "config": run.config.model_dump(mode="json"),
            "data": run.info.to_dict(),
            "generates": callable(getattr(run.plugin.model_class(), "sample", None)),
            "held_out": self.held_out_fingerprint,
            "began_in": run.began_in,
            "ranks": self.group.count,
            "versions": versions,
        }
