"""Kill commands by SIGKILL at random moments, and check what they leave.

The test suite kills ten times, benchmarks/output_kills.py more than a hundred times.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pgen.data import ArrayImages, open_images, write_images
from tests.helpers import warm

#: Files of the user next to the outputs, some with names like those of pgen's own hidden files.
USER_FILES = {
    "notes.txt": "mine",
    ".out.h5.parts/thesis.txt": "three years of work",
    ".out.h5.0123abcd.pgen-draft/new/out.h5": "without a marker",
    ".out.h5.pgen-parts/owner": "another's",
    "data/results.txt": "mine",
}
#: Seconds that one command may take.
TIMEOUT = 120


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        name: Its name.
        arguments: Its arguments.
        outputs: The files and folders that it writes.
        old: Arguments of the command that makes the outputs that are replaced or appended to.
        appends: Whether it appends.
    """

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    old: tuple[str, ...]
    appends: bool = False


def _command(name: str, text: str, outputs: str, *, old: str, appends: bool = False) -> Command:
    return Command(name, tuple(text.split()), tuple(outputs.split()), tuple(old.split()), appends)


_CODES = "out/codes.pt out/decoder.safetensors out/reconstructions.h5 out/reconstructions.png"
_REAL = "--train ../in/a.h5:limit=200 --held-out ../in/b.h5:limit=200 --threshold 3 --out out"
COMMANDS = [
    _command("convert", "data convert ../in/a.h5 --out out.h5", "out.h5", old="data convert ../in/b.h5 --out out.h5"),
    _command("convert to PNG", "data convert ../in/a.h5:limit=400 --out out", "out", old="data convert ../in/b.h5:limit=200 --out out"),
    _command(
        "merge --append", "data merge ../in/a.h5 --append --out out.h5", "out.h5", old="data convert ../in/b.h5 --out out.h5", appends=True
    ),
    _command(
        "crop",
        "data crop ../in/a.h5:limit=200 --size 8 --out out.h5",
        "out.h5",
        old="data crop ../in/b.h5:limit=50 --size 8 --out out.h5",
    ),
    _command(
        "split", "data split ../in/a.h5 --held-out .5 --out out", "out/train.h5 out/held_out.h5", old="data split ../in/b.h5 --out out"
    ),
    _command(
        "split among others",
        "data split ../in/a.h5 --out data",
        "data/train.h5 data/held_out.h5",
        old="data split ../in/b.h5 --out data",
    ),
    _command("export", "data export ../in/a.h5 --out out.h5", "out.h5", old="data export ../in/b.h5 --out out.h5"),
    _command(
        "simulate",
        "data simulate -n 512 --size 16 --processes 1 --out out.npz",
        "out.npz",
        old="data simulate -n 99 --size 16 --processes 1 --out out.npz",
    ),
    _command(
        "deploy an encoder",
        "deploy ../in/runs/ae --data ../in/a.h5 --out out",
        _CODES,
        old="deploy ../in/runs/ae --data ../in/b.h5 --out out",
    ),
    _command(
        "deploy a generator",
        "deploy ../in/runs/gan --checkpoint 20 --out out",
        "out/generator.pt2",
        old="deploy ../in/runs/gan --checkpoint 10 --out out",
    ),
    _command(
        "sample",
        "sample ../in/runs/gan -n 2000 --out out.h5 --grid out.png",
        "out.h5 out.png",
        old="sample ../in/runs/gan -n 300 --seed 7 --out out.h5 --grid out.png",
    ),
    _command(
        "evaluate",
        f"evaluate physics --generated ../in/a.h5:entries=200-400 {_REAL}",
        "out/report.html out/results.json out/images.csv",
        old=f"evaluate physics --generated ../in/b.h5:limit=100 --generated ../in/c.h5:limit=100 {_REAL}",
    ),
]
_TRAIN = {
    "ae": "--n-layers 2 --depth 4 --l-dim 8 --batch-size 64 --max-steps 4",
    "gan": "--n-hidden 64 --batch-size 64 --checkpoint 10 --max-steps 20",
}


@dataclass(frozen=True)
class Kill:
    """One kill: the command, whether outputs existed, when it was killed, and what it left."""

    command: str
    existing: bool
    seconds: float
    during: str  # before, drafting, placing; ended if the command was faster than the kill
    left: str  # absent, old, new; mixed if outputs differ


def make_inputs(root: Path, images: int, models: Sequence[str]) -> None:
    """Make the inputs of the commands in ``root/in``."""
    folder = root / "in"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in (("a", images), ("b", images // 2), ("c", images // 2)):
        charge = rng.integers(1, 60, (count, 1, 16, 16)) * (rng.random((count, 1, 16, 16)) < 0.2)
        ids = [f"{name}{number}" for number in range(count)]
        write_images(folder / f"{name}.h5", ArrayImages(charge.astype(np.float32), name=name, ids=ids, events=ids))
    _run(["--version"], root)  # the first command waits for the imports
    for model in models:
        _run(f"train {model} --data a.h5 {_TRAIN[model]} --sample-size 0 --name {model} --save-root runs".split(), folder)


class Victim:
    """Kills a command repeatedly, each time in a new folder."""

    def __init__(self, command: Command, existing: bool, root: Path, rng: random.Random) -> None:
        self.command, self.existing, self.random = command, existing, rng
        self._folder = root / "work"
        self._saved = root / f"{command.name} {existing}"
        overwrite = ("--overwrite",) if existing and not command.appends else ()
        self._arguments = [*command.arguments, *overwrite]
        self._fresh()
        if existing:
            _run(list(command.old), self._folder)
        shutil.copytree(self._folder, self._saved)
        self._old = self._contents()
        began = time.monotonic()
        _run(self._arguments, self._folder)
        self._duration = time.monotonic() - began
        self._new = self._contents()
        self._names = self._listing()

    def kills(self) -> Iterator[Kill]:
        """Kill the command without end."""
        while True:
            shutil.rmtree(self._folder)
            shutil.copytree(self._saved, self._folder)
            seconds, during = self._kill(self.random.choice(["any time", "while drafting", "while drafting", "at the first change"]))
            kill = Kill(self.command.name, self.existing, round(seconds, 3), during, self._check())
            self._check_next_run(kill)
            yield kill

    def _kill(self, when: str) -> tuple[float, str]:
        states = self._states()
        process = warm.start(self._arguments, self._folder, self._folder.with_suffix(".out"), self._folder.with_suffix(".err"))
        began = time.monotonic()
        wait = self.random.uniform(0, self._duration)
        while process.is_alive() and not (
            time.monotonic() - began > wait
            if when == "any time"
            else self._drafts()
            if when == "while drafting"
            else self._states() != states
        ):
            pass
        if when == "while drafting":
            process.join(self.random.uniform(0, max(0.02, self._duration - (time.monotonic() - began))))
        process.kill()
        process.join()
        seconds = time.monotonic() - began
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0, self._folder.with_suffix(".err").read_text()
            return seconds, "ended"
        return seconds, "placing" if self._states() != states else "drafting" if self._drafts() else "before"

    def _check(self) -> str:
        """Check that each output is absent, old or new, and that the user's files are unchanged."""
        outcomes = set()
        for name, content in self._contents().items():
            states = {"old": self._old[name], "new": self._new[name]}
            state = next((state for state, whole in states.items() if content == whole), None)
            assert state is not None, f"{self.command.name}: {name} is neither old nor new"
            outcomes.add("absent" if content is None and not self.existing else state)
        self._check_user_files()
        return outcomes.pop() if len(outcomes) == 1 else "mixed"

    def _check_next_run(self, kill: Kill) -> None:
        """Check that running the command again completes everything and cleans up."""
        is_complete = kill.left == "new"
        overwrite = ["--overwrite"] if not self.existing and kill.left == "mixed" else []
        _run([*self._arguments, *overwrite], self._folder, code=2 if is_complete and (not self.existing or self.command.appends) else 0)
        assert self._contents() == self._new, f"{self.command.name}: the next run did not bring it to its end"
        self._check_user_files()
        assert self._listing() == self._names, f"{self.command.name}: left {self._listing() ^ self._names}"

    def _check_user_files(self) -> None:
        for name, text in USER_FILES.items():
            assert (self._folder / name).read_text() == text, f"{self.command.name}: {name} of the user was changed"

    def _fresh(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name, text in USER_FILES.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_text(text)

    def _contents(self) -> dict[str, object]:
        return {name: _content(self._folder / name) for name in self.command.outputs}

    def _listing(self) -> set[str]:
        return {path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*")}

    def _drafts(self) -> list[Path]:
        of_user = self._folder.joinpath(".out.h5.0123abcd.pgen-draft")
        folders = {self._folder, *((self._folder / name).parent for name in self.command.outputs)}
        return [path for folder in folders for path in folder.glob(".*.pgen-draft") if path != of_user]

    def _states(self) -> list[tuple[int, int] | None]:
        """Return inodes and times of the outputs, which show any change."""
        states: list[tuple[int, int] | None] = []
        for name in self.command.outputs:
            try:
                status = (self._folder / name).stat()
                states.append((status.st_ino, status.st_mtime_ns))
            except OSError:
                states.append(None)
        return states


def _run(arguments: list[str], folder: Path, code: int = 0) -> None:
    done = warm.run(arguments, folder, timeout=TIMEOUT)
    assert done.returncode == code, f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def _content(path: Path) -> object:
    """Return what distinguishes an output from others of the same command; None without output.

    Raises:
        AssertionError: The output is incomplete.
    """
    if not path.exists():
        return None
    if path.suffix == ".json":
        return sorted(json.loads(path.read_text())["generated"])  # what else it holds has dates and durations in it
    if path.suffix == ".html":
        page = path.read_text()
        assert page.rstrip().endswith("</html>"), f"{path} is half a page"
        return page.partition("</title>")[0]
    if path.is_dir() or path.suffix in (".h5", ".npz"):
        images = open_images(str(path.resolve()))
        labels = {name: values.tolist() for name, values in images.labels.items()}
        return images.fingerprint, images.ids.tolist(), images.events.tolist(), labels
    return hashlib.sha256(path.read_bytes()).hexdigest()
