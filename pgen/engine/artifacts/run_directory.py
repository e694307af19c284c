"""The run directory, which holds everything of one training."""

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
    """Paths and small files of one run; docs/formats.md says what each holds."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: _DirectoryLock | None = None
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
        """Open an existing run.

        Raises:
            RunError: The directory or its config.json is missing.
        """
        folder = cls(path)
        restore(folder.path)
        if not folder.config.is_file():
            content = "a folder without config.json" if folder.path.is_dir() else "a file" if folder.path.exists() else "nothing"
            raise RunError(f"{path} is no run: found {content}, expected a run folder as `pgen train` makes them (runs/NAME).")
        return folder

    def acquire_lock(self) -> None:
        """Become the one process that trains here, and remove drafts of killed ones.

        Raises:
            RunError: Another process trains here.
        """
        self.release()
        lock = _DirectoryLock(self.path)
        if not lock.acquire():
            raise RunError(f"{self.path} is being trained by another process; wait until it ends, or stop it.")
        self._lock = lock
        for folder in (self.path, self.checkpoints, self.weights.parent, self.samples):
            sweep(folder)

    def renamed(self, path: Path) -> RunDirectory:
        """Return this directory after it was renamed to ``path``, with its lock."""
        folder = RunDirectory(path)
        folder._lock, self._lock = self._lock, None
        if folder._lock is not None:
            folder._lock.move_to(path)
        return folder

    def is_in_place(self) -> bool:
        """Whether the locked directory is still at its path.

        Returns:
            False if it has been deleted, in part or as a whole.

        Raises:
            RunError: It was moved, or another one is in its place, in which nothing may be written.
        """
        if self._lock is None:
            return self.config.is_file()
        if self._lock.is_moved():
            way_out = f" What it saved so far is in the moved folder; resume it with {option('resume')}."
            way_out = "" if self._lock.is_deleted() else way_out
            raise RunError(f"{self.path} was moved or replaced while it was trained, and training stops.{way_out}")
        return self._lock.is_held() and self.config.is_file()

    def release(self) -> None:
        """Let others train here, also of this process."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.json."""
        with atomic_write(self.config, guard=self.is_in_place) as draft:
            draft.write_text(json.dumps({"format": FORMAT, **values}, indent=2) + "\n", encoding="utf-8")

    def read_config(self) -> dict[str, Any]:
        """Read config.json.

        Raises:
            RunError: It is damaged.
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
        """Return all lines of metrics.jsonl; incomplete ones, as after a kill, are skipped."""
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
        """Remove what was logged after ``step``, which a resumed run writes again."""
        if not self.metrics.is_file():
            return
        lines = [line for line in self.read_metrics() if line["step"] <= step]
        with atomic_write(self.metrics, guard=self.is_in_place) as draft:
            draft.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


class _DirectoryLock:
    """The lock of a run directory, with an open handle that identifies it wherever it is moved."""

    def __init__(self, path: Path) -> None:
        self._path, self._file_lock = path, FileLock(path / "lock")
        self._folder: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock; return whether it was free."""
        if not self._file_lock.acquire():
            return False
        self._folder = os.open(self._path, os.O_RDONLY)
        return True

    def move_to(self, path: Path) -> None:
        """Note that this process has renamed the directory."""
        self._path, self._file_lock.path = path, path / "lock"

    def is_held(self) -> bool:
        """Whether the lock file is in its place."""
        return self._file_lock.is_in_place()

    def is_moved(self) -> bool:
        """Whether the directory is elsewhere, or another one at its path."""
        assert self._folder is not None
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._folder))
        except OSError:
            return not self._file_lock.is_deleted()

    def is_deleted(self) -> bool:
        """Whether the lock file, and with it the directory, has been deleted."""
        return self._file_lock.is_deleted()

    def release(self) -> None:
        self._file_lock.release()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    __del__ = release


def run_inputs(*runs: str | Path | None) -> list[Path]:
    """Return what commands read from runs, which their outputs may not replace."""
    folders = [RunDirectory(run) for run in runs if run is not None]
    return [path for folder in folders for path in (folder.config, folder.checkpoints, folder.weights.parent)]


def next_run_path(save_root: str, name: str | None, model: str, *, overwrite: bool) -> Path:
    """Return the path of a new run.

    Args:
        save_root: Folder of runs.
        name: Name of the run; None for the first free one of MODEL-1, MODEL-2, ...
        model: Name of the model.
        overwrite: Whether a run of this name may be replaced.

    Raises:
        ConfigError: The name is taken.
    """
    root = Path(save_root)
    if name is None:
        pattern = re.compile(rf"{re.escape(model)}-([0-9]+)")
        numbers = [int(match[1]) for path in root.glob(f"{model}-*") if (match := pattern.fullmatch(path.name))]
        name = f"{model}-{max(numbers, default=0) + 1}"
    folder = RunDirectory(root / name)
    restore(folder.path)
    if folder.path.exists():
        if not overwrite:
            way_out = f"choose another {option('name')}, resume it with {option('resume', folder.path)}, or pass {option('overwrite')}"
            raise ConfigError(f"Run {folder.path} exists already; {way_out}.")
        if not folder.config.is_file():
            raise ConfigError(
                f"{folder.path} exists and is no run folder, so {option('overwrite')} will not delete it; choose another {option('name')}."
            )
    return folder.path
