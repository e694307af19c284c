"""Commands that are timed and run once: what a folder holds of an earlier call is not done again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path


class Kept:
    """seconds: of each command, its wall time; kept in ``folder``/seconds.json, where the commands run."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self._path = folder, folder / "seconds.json"
        self.seconds: dict[str, float] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def pgen(self, command: str) -> None:
        self.timed(f"pgen {command}", [sys.executable, "-m", "pgen", *shlex.split(command)])

    def timed(self, name: str, words: list[str]) -> None:
        """Run ``words`` unless ``name`` has been run."""
        if name not in self.seconds:
            began = time.monotonic()
            subprocess.run(words, check=True, cwd=self.folder)
            self.seconds[name] = round(time.monotonic() - began, 1)
            self._path.write_text(json.dumps(self.seconds))
            print(name, self.seconds[name], flush=True)
