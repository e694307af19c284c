"""The run folder: where everything of one training lies."""

from __future__ import annotations

import fcntl
import json
import re
import time
from pathlib import Path
from typing import IO, Any

from pgen.errors import UserError
from pgen.files import atomic
from pgen.text import printable

FORMAT = "pgen-run-1"


class RunFolder:
    """Paths and small files of one run. See docs/formats.md for what each holds."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._claimed: IO[str] | None = None
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
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run. UserError where the folder or its config.json is missing."""
        folder = cls(path)
        if not folder.config.is_file():
            found = "a folder without config.json" if folder.path.is_dir() else "a file" if folder.path.exists() else "nothing"
            raise UserError(f"{path} is no run: found {found}, wanted a run folder as `pgen train` makes them (runs/NAME).")
        return folder

    def claim(self) -> None:
        """Be the one process that trains here, until :meth:`release` or its end. UserError where there is one already.

        What a killed process left unfinished is swept away.
        """
        self._claimed = (self.path / "lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(self._claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{self.path} is being trained by another process; wait until it ends, or stop it.") from error
        except OSError:
            pass  # a file system without locks
        # Where training writes, and nowhere else: others may be writing samples here.
        for own in (self.config, self.metrics, self.losses):
            _sweep(self.path, own.stem)
        for folder in (self.checkpoints, self.weights.parent, self.samples):
            _sweep(folder, "*")

    def release(self) -> None:
        """Let others train here, of this process too: the collection of garbage, which would do so as well, comes at no certain time."""
        if self._claimed is not None:
            self._claimed.close()
            self._claimed = None

    def write_config(self, values: dict[str, Any]) -> None:
        with atomic(self.config) as temporary:
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
            raise UserError(f"{self.config} cannot be read: {error}. Restore it from a copy, or train again.") from error
        return values

    def append_log(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable(text)}\n")

    def append_metrics(self, line: dict[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

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

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after ``step``: a resumed run writes it again."""
        if not self.metrics.is_file():
            return
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        with atomic(self.metrics) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def _sweep(folder: Path, stem: str) -> None:
    """Remove what :func:`pgen.files.atomic` had not finished of files of that stem."""
    for path in folder.glob(f".{stem}.*.tmp*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def free_path(save_root: str, name: str | None, model: str, *, overwrite: bool) -> Path:
    """Where a new run may lie; without a name the first free of MODEL-1, MODEL-2, ... UserError where the name is taken."""
    root = Path(save_root)
    if name is None:
        numbers = [int(found[1]) for path in root.glob(f"{model}-*") if (found := re.fullmatch(rf"{re.escape(model)}-([0-9]+)", path.name))]
        name = f"{model}-{max(numbers, default=0) + 1}"
    folder = RunFolder(root / name)
    if folder.path.exists():
        if not overwrite:
            raise UserError(
                f"Run {folder.path} exists already; choose another --name, go on with --resume {folder.path}, or pass --overwrite."
            )
        if not folder.config.is_file():
            raise UserError(f"{folder.path} exists and is no run folder, so --overwrite will not delete it; choose another --name.")
    return folder.path
