"""Run and time commands, except those whose output a folder already contains."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Kept:
    """Commands that run in a folder; their wall times are stored in its seconds.json."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._path = folder, folder / "seconds.json"
        self.seconds: dict[str, float] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def pgen(self, command: str) -> float:
        return self.timed(f"pgen {command}", [sys.executable, "-m", "pgen", *shlex.split(command)])

    def evaluated(self, metric: str, images: Iterable[str], real: str, out: str) -> dict[str, Any]:
        """Evaluate files of generated images; ``real`` has the options that name the real ones."""
        generated = " ".join(f"--generated {path}" for path in images)
        self.pgen(f"evaluate {metric} {generated} {real} --out {out}")
        return json.loads((self.folder / out / "results.json").read_text())

    def timed(self, name: str, words: list[str]) -> float:
        """Run ``words`` unless ``name`` has been run; return its wall time."""
        if name not in self.seconds:
            began = time.monotonic()
            subprocess.run(words, check=True, cwd=self.folder)
            self.seconds[name] = round(time.monotonic() - began, 1)
            self._path.write_text(json.dumps(self.seconds))
            print(name, self.seconds[name], flush=True)
        return self.seconds[name]
