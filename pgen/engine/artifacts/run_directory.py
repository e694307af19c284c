"""The run folder: where everything of one training lies."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from pgen.errors import PgenError
from pgen.utils.drafts import restore, sweep
from pgen.utils.files import append_line, atomic_write
from pgen.utils.locks import FileLock
from pgen.utils.text import printable

FORMAT = "pgen-run-1"


class RunDirectory:
    """Paths and small files of one run. See docs/formats.md for what each holds."""

    def __init__(self, path: str | Path) -> None:
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
        """An existing run. UserError where the folder or its config.json is missing."""
        folder = cls(path)
        restore(folder.path)
        if not folder.config.is_file():
            found = "a folder without config.json" if folder.path.is_dir() else "a file" if folder.path.exists() else "nothing"
            raise PgenError(f"{path} is no run: found {found}, wanted a run folder as `pgen train` makes them (runs/NAME).")
        return folder

    def acquire_lock(self) -> None:
        """Be the one process that trains here, until :meth:`release` or its end. UserError where there is one already.

        What a killed process left unfinished is swept away.
        """
        self.release()
        acquire_lock = _Claim(self.path)
        if not acquire_lock.take():
            raise PgenError(f"{self.path} is being trained by another process; wait until it ends, or stop it.")
        self._claim = acquire_lock
        for folder in (self.path, self.checkpoints, self.weights.parent, self.samples):
            sweep(folder)

    def renamed(self, path: Path) -> RunDirectory:
        """The same folder after it was renamed to ``path``, claimed as before."""
        folder = RunDirectory(path)
        folder._claim, self._claim = self._claim, None
        if folder._claim is not None:
            folder._claim.move_to(path)
        return folder

    def is_in_place(self) -> bool:
        """Whether the claimed folder still lies at its path.

        Returns:
            False where it has been deleted, in part or whole.

        Raises:
            UserError: It was moved, or another one has taken its place, in which nothing may be written.
        """
        if self._claim is None:
            return self.config.is_file()
        if self._claim.is_moved():
            kept = "" if self._claim.is_deleted() else " What it saved so far is in the moved folder; name that with --resume to go on."
            raise PgenError(f"{self.path} was moved or replaced while it was trained, and training stops.{kept}")
        return self._claim.is_held() and self.config.is_file()

    def release(self) -> None:
        """Let others train here, of this process too."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def write_config(self, values: dict[str, Any]) -> None:
        with atomic_write(self.config, guard=self.is_in_place) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, **values}, indent=2) + "\n", encoding="utf-8")

    def read_config(self) -> dict[str, Any]:
        try:
            values = json.loads(self.config.read_text(encoding="utf-8"))
            if values.get("format") != FORMAT:
                raise ValueError(f"its format is {values.get('format')!r}, wanted {FORMAT!r}")
            if missing := sorted({"model", "settings", "config", "data"} - set(values)):
                raise ValueError(f"it lacks {', '.join(missing)}")
            if not isinstance(values["model"], str):
                raise ValueError(f"its model is {values['model']!r}, wanted a name")
            if wrong := [name for name in ("settings", "config", "data") if not isinstance(values[name], dict)]:
                raise ValueError(f"{', '.join(wrong)} must be a table of names and values")
        except (ValueError, AttributeError, RecursionError) as error:
            raise PgenError(f"{self.config} cannot be read: {error}. Restore it from a copy, or train again.") from error
        return values

    def append_log(self, text: str) -> None:
        append_line(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable(text)}")

    def append_metrics(self, line: dict[str, Any]) -> None:
        append_line(self.metrics, json.dumps(line))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines; what is none, as a last one torn by a kill, is passed over."""
        lines: list[dict[str, Any]] = []
        for line in self.metrics.read_text(encoding="utf-8", errors="replace").splitlines() if self.metrics.is_file() else []:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and isinstance(found.get("step"), int):
                lines.append(found)
        return lines

    def truncate_metrics(self, step: int) -> None:
        """Drop what was logged after ``step``: a resumed run writes it again."""
        if not self.metrics.is_file():
            return
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        with atomic_write(self.metrics, guard=self.is_in_place) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


class _Claim:
    """The lock of a run folder, held by this process, and the folder itself: wherever it is moved to, it is known again."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(path / "lock")
        self._folder: int | None = None

    def take(self) -> bool:
        """Whether the lock was taken."""
        if not self._lock.acquire():
            return False
        self._folder = os.open(self._path, os.O_RDONLY)
        return True

    def move_to(self, path: Path) -> None:
        """The folder has been renamed by this process."""
        self._path, self._lock.path = path, path / "lock"

    def is_held(self) -> bool:
        """Whether the lock file is in its place."""
        return self._lock.is_in_place()

    def is_moved(self) -> bool:
        """Whether the folder lies elsewhere, or another one at its path."""
        assert self._folder is not None
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._folder))
        except OSError:
            return not self._lock.is_deleted()

    def is_deleted(self) -> bool:
        """Whether the lock file has been deleted, and with it the folder."""
        return self._lock.is_deleted()

    def release(self) -> None:
        self._lock.release()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    __del__ = release


def run_inputs(*runs: str | Path | None) -> list[Path]:
    """What commands read of these runs, which none of their outputs may replace."""
    folders = [RunDirectory(run) for run in runs if run is not None]
    return [path for folder in folders for path in (folder.config, folder.checkpoints, folder.weights.parent)]


def next_run_path(save_root: str, name: str | None, model: str, *, overwrite: bool) -> Path:
    """Where a new run may lie; without a name the first free of MODEL-1, MODEL-2, ... UserError where the name is taken."""
    root = Path(save_root)
    if name is None:
        numbers = [int(found[1]) for path in root.glob(f"{model}-*") if (found := re.fullmatch(rf"{re.escape(model)}-([0-9]+)", path.name))]
        name = f"{model}-{max(numbers, default=0) + 1}"
    folder = RunDirectory(root / name)
    restore(folder.path)
    if folder.path.exists():
        if not overwrite:
            raise PgenError(
                f"Run {folder.path} exists already; choose another --name, go on with --resume {folder.path}, or pass --overwrite."
            )
        if not folder.config.is_file():
            raise PgenError(f"{folder.path} exists and is no run folder, so --overwrite will not delete it; choose another --name.")
    return folder.path
