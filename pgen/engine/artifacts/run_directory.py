"""A run directory: its paths, its lock and its small files."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from pgen.errors import ConfigError, RunError, option
from pgen.utils.drafts import restore, sweep
from pgen.utils.files import append_line, atomic_write
from pgen.utils.locks import FileLock
from pgen.utils.text import printable

FORMAT = "pgen-run-1"


class RunDirectory:
    """Paths and small files of a run; docs/formats.md describes what each holds.

    Attributes:
        path: The directory.
        config: Model, options and facts about the data (JSON).
        log: What training logged.
        metrics: Metrics, one JSON object per line.
        losses: Figure of the metrics.
        checkpoints: Directory of checkpoints.
        weights: Weights for inference.
        decoder: Decoder of the latent codes that the model was trained on, if any.
        labels: Training labels of a conditional model.
        samples: Directory of preview images.
    """

    def __init__(self, path: str | Path) -> None:
        """Name the files of a run, which need not exist."""
        self.path = Path(path)
        self._claim: _Claim | None = None
        self.config = self.path / "config.json"
        self.log = self.path / "log.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.losses = self.path / "losses.png"
        self.checkpoints = self.path / "checkpoints"
        self.weights = self.path / "model" / "weights.safetensors"
        self.decoder = self.path / "model" / "decoder.safetensors"
        self.labels = self.path / "model" / "labels.npz"
        self.samples = self.path / "samples"

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open the directory of an existing run.

        Raises:
            RunError: The directory or its config.json is missing.
        """
        folder = cls(path)
        restore(folder.path)
        if not folder.config.is_file():
            content = "a folder without config.json" if folder.path.is_dir() else "a file" if folder.path.exists() else "nothing"
            raise RunError(f"{path} is no run: expected a run folder as `pgen train` makes them (runs/NAME), got {content}.")
        return folder

    def acquire_lock(self) -> None:
        """Lock the run for training, until :meth:`release` or the process ends.

        Unfinished files of killed processes are removed.

        Raises:
            RunError: Another process trains it.
        """
        self.release()
        claim = _Claim(self.path)
        if not claim.take():
            raise RunError(f"{self.path} is being trained by another process; wait until it ends, or stop it.")
        self._claim = claim
        for folder in (self.path, self.checkpoints, self.weights.parent, self.samples):
            sweep(folder)

    def follow_rename(self, path: Path) -> RunDirectory:
        """Return this directory at ``path``, to which it was renamed, with its lock."""
        folder = RunDirectory(path)
        folder._claim, self._claim = self._claim, None
        if folder._claim is not None:
            folder._claim.move_to(path)
        return folder

    def is_in_place(self) -> bool:
        """Return whether the locked directory is still at its path.

        Returns:
            False if it was deleted, in part or whole.

        Raises:
            RunError: It was moved, or replaced by another one, in which nothing may be written.
        """
        if self._claim is None:
            return self.config.is_file()
        if self._claim.is_moved():
            resume = f" What it saved so far is in the moved folder; pass that as {option('resume')} to continue."
            way_out = "" if self._claim.is_deleted() else resume
            raise RunError(f"{self.path} was moved or replaced while it was trained, and training stops.{way_out}")
        return self._claim.is_held() and self.config.is_file()

    def release(self) -> None:
        """Unlock the run, also for others in this process."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.json."""
        with atomic_write(self.config, guard=self.is_in_place) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, **values}, indent=2) + "\n", encoding="utf-8")

    def read_config(self) -> dict[str, Any]:
        """Read config.json.

        Raises:
            RunError: It is damaged, or of another version.
        """
        try:
            values = json.loads(self.config.read_text(encoding="utf-8"))
            if values.get("format") != FORMAT:
                raise ValueError(f"its format is {values.get('format')!r}, expected {FORMAT!r}")
            if missing := sorted({"model", "settings", "config", "data"} - set(values)):
                raise ValueError(f"it lacks {', '.join(missing)}")
            if not isinstance(values["model"], str):
                raise ValueError(f"its model is {values['model']!r}, expected a name")
            if wrong := [name for name in ("settings", "config", "data") if not isinstance(values[name], dict)]:
                raise ValueError(f"{', '.join(wrong)} must be a table of names and values")
        except (ValueError, AttributeError, RecursionError) as error:
            raise RunError(f"{self.config} cannot be read: {error}. Restore it from a copy, or train again.") from error
        return values

    def append_log(self, text: str) -> None:
        """Append a line with the time to log.txt."""
        append_line(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable(text)}")

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        append_line(self.metrics, json.dumps(line))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl; invalid lines, such as one that a kill cut off, are skipped."""
        lines: list[dict[str, Any]] = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines() if self.metrics.is_file() else []:
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict) and isinstance(values.get("step"), int):
                lines.append(values)
        return lines

    def truncate_metrics(self, step: int) -> None:
        """Remove the lines after ``step``, which a resumed run writes again."""
        if not self.metrics.is_file():
            return
        lines = [line for line in self.read_metrics() if line["step"] <= step]
        with atomic_write(self.metrics, guard=self.is_in_place) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


class _Claim:
    """The lock of a run directory, and a descriptor that identifies the directory if moved."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(path / "lock")
        self._folder: int | None = None

    def take(self) -> bool:
        """Acquire the lock; return whether this succeeded."""
        if not self._lock.acquire():
            return False
        self._folder = os.open(self._path, os.O_RDONLY)
        return True

    def move_to(self, path: Path) -> None:
        """Follow a rename of the directory by this process."""
        self._path, self._lock.path = path, path / "lock"

    def is_held(self) -> bool:
        """Return whether the lock file is in its place."""
        return self._lock.is_in_place()

    def is_moved(self) -> bool:
        """Return whether the directory is elsewhere, or another one at its path."""
        assert self._folder is not None
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._folder))
        except OSError:
            return not self._lock.is_deleted()

    def is_deleted(self) -> bool:
        """Return whether the lock file was deleted, and with it the directory."""
        return self._lock.is_deleted()

    def release(self) -> None:
        self._lock.release()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    __del__ = release


def run_inputs(*runs: str | Path | None) -> list[Path]:
    """Return the paths that commands read from these runs, which no output may replace."""
    folders = [RunDirectory(run) for run in runs if run is not None]
    return [path for folder in folders for path in (folder.config, folder.checkpoints, folder.weights.parent)]


def next_run_path(save_root: str, name: str | None, model: str, *, overwrite: bool) -> Path:
    """Choose the path of a new run.

    Args:
        save_root: Directory of all runs.
        name: Name of the run; None for the next of MODEL-1, MODEL-2, ...
        model: Name of the model.
        overwrite: Allow the path of an existing run.

    Raises:
        ConfigError: The path is taken.
    """
    root = Path(save_root)
    if name is None:
        matches = [re.fullmatch(rf"{re.escape(model)}-([0-9]+)", path.name) for path in root.glob(f"{model}-*")]
        numbers = [int(match[1]) for match in matches if match]
        name = f"{model}-{max(numbers, default=0) + 1}"
    folder = RunDirectory(root / name)
    restore(folder.path)
    if folder.path.exists():
        if not overwrite:
            resume = option("resume", folder.path)
            raise ConfigError(
                f"Run {folder.path} exists already; choose another {option('name')}, resume it by {resume}, or pass {option('overwrite')}."
            )
        if not folder.config.is_file():
            raise ConfigError(
                f"{folder.path} exists and is no run folder, so {option('overwrite')} will not delete it; choose another {option('name')}."
            )
    return folder.path
