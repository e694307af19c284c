"""Kill training at random moments and compare what is left with an undisturbed run, bit for bit.

The test suite kills six times, benchmarks/engine_kills.py two hundred.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import load_module
from pgen.utils.drafts import DRAFT
from tests.helpers import warm

IMAGES = "simulate:n=96,size=32,seed=3"
#: A checkpoint every fourth step, so that many kills come while one is written.
COMMON = ("--sample-size", 0, "--checkpoint", 4, "--log-every", 4, "--num-epochs", 10**6, "--lr-decay", 0.1, "--ema", 0.9)
MODELS = {
    "gan": ("--data", IMAGES, "--condition", "type,momentum", "--n-hidden", 16, "--p", 0.2, "--batch-size", 20),
    "ae": ("--data", IMAGES, "--n-layers", 2, "--depth", 4, "--l-dim", 8, "--batch-size", 20, "--threshold", 10, "--p", 0.2,
           "--held-out", "simulate:n=20,size=32,seed=4"),
    "ewm": ("--targets", "simulate:n=40,size=16,seed=3", "--n-hidden", 16, "--ots-steps", 9, "--batch-size", 32, "--p", 0.2,
            "--tess-var", 0.01),
    "flow": ("--targets", "simulate:n=40,size=16,seed=3", "--n-hidden", 8, "--n-layers", 2, "--batch-size", 32,
             "--condition", "type,momentum"),
}  # fmt: skip
#: Most seconds from the first step to a kill.
LATEST = 2.0


@dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
        model: Name of the model.
        seconds: Time since the process started.
        during: What it was doing: starting, training or writing.
        newest: Step of the newest checkpoint, or 0.
        torn: Whether that checkpoint was then truncated too.
    """

    model: str
    seconds: float
    during: str
    newest: int
    torn: bool


@dataclass
class Victim:
    """A run of one model that is killed until its ``steps`` are done, and then started again."""

    model: str
    root: Path
    steps: int
    random: random.Random
    begun: int = field(default=0, init=False)
    _torn: bytes = field(default=b"", init=False)

    def kills(self) -> Iterator[Kill]:
        """Yield kills without end."""
        self._run("whole", "--keep-checkpoints", 10**6).join(600)
        self._start_again()
        while True:
            before = len(self._log())
            process = self._run(self._name, "--resume", "auto", "--keep-checkpoints", 3)
            began = time.monotonic()
            early = self.random.random() < 0.15
            if not early:
                self._wait_for_training(process, before)
            time.sleep(self.random.uniform(0, LATEST))
            process.kill()
            process.join(60)
            if process.exitcode != -signal.SIGKILL:
                assert process.exitcode == 0, f"{self.model} ended by itself: {(self.root / f'{self._name}.txt').read_text()[-2000:]}"
                self.check(done=True)
                self._start_again()
                continue
            seconds, newest = round(time.monotonic() - began, 2), self.check()
            # Only the newest, and not while one torn before is still there.
            torn = len(self._intact_steps()) > 1 and self._intact_steps() == checkpoints.steps(self._folder) and self.random.random() < 0.2
            if torn:
                path = checkpoints.path_of(self._folder, newest)
                content = path.read_bytes()
                self._torn = content[: self.random.randrange(len(content))]
                path.write_bytes(self._torn)
            yield Kill(self.model, seconds, self._doing(before), newest, torn)

    def check(self, done: bool = False) -> int:
        """Check that all files are readable and equal those of the undisturbed run.

        Returns:
            The newest checkpoint's step, or 0.
        """
        steps = self._intact_steps()
        for step in steps:
            assert_equal(checkpoints.load(self._folder, step), checkpoints.load(self._whole, step))
        if self._folder.weights.exists():
            load_module(self._folder.weights)
        if done:
            assert steps[-1] == self.steps, f"{self.model} ended at step {steps[-1]}"
            lines = [[_without_time(line) for line in folder.read_metrics()] for folder in (self._folder, self._whole)]
            assert lines[0] == lines[1], f"{self.model}: metrics.jsonl differs"
        return max(steps, default=0)

    def _intact_steps(self) -> list[int]:
        """Return the steps of intact checkpoints; a torn one stays until training moves it aside."""
        return [step for step in checkpoints.steps(self._folder) if checkpoints.path_of(self._folder, step).read_bytes() != self._torn]

    def _start_again(self) -> None:
        if self.begun:
            shutil.rmtree(self._folder.path)
        self.begun += 1
        self._name = f"{self.model}-{self.begun}"

    @property
    def _folder(self) -> RunDirectory:
        return RunDirectory(self.root / "runs" / self._name)

    @property
    def _whole(self) -> RunDirectory:
        return RunDirectory(self.root / "runs" / "whole")

    def _run(self, name: str, *more: object) -> BaseProcess:
        arguments = ("train", self.model, *MODELS[self.model], *COMMON, "--max-steps", self.steps, "--name", name, *more)
        return warm.start(list(map(str, arguments)), self.root, self.root / f"{name}.out", self.root / f"{name}.txt")

    def _wait_for_training(self, process: BaseProcess, before: int) -> None:
        while process.is_alive() and not any("training" in line for line in self._log()[before:]):
            time.sleep(0.005)

    def _log(self) -> list[str]:
        return self._folder.log.read_text().splitlines() if self._folder.log.exists() else []

    def _doing(self, before: int) -> str:
        if list(self._folder.path.rglob(f".*{DRAFT}")):
            return "writing"
        return "training" if any("training" in line for line in self._log()[before:]) else "starting"


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    """Check that two checkpoints are equal, bit for bit."""
    assert one.model.keys() == other.model.keys()
    for part, whole in ((one.model, other.model), (one.inference_state, other.inference_state)):
        for name, values in part.items():
            torch.testing.assert_close(values, whole[name], rtol=0, atol=0, equal_nan=True, msg=f"step {one.step}: {name} differs")
    assert (one.step, one.best) == (other.step, other.best)
    torch.testing.assert_close(one.optimizers, other.optimizers, rtol=0, atol=0)


def _without_time(line: dict) -> dict:
    return {name: value for name, value in line.items() if name != "samples_per_second"}
