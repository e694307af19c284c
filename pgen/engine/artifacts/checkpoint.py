"""Checkpoints: all that is needed to resume training, written so that none is ever incomplete."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt, TypeAdapter

from pgen.engine.artifacts.run_directory import RunDirectory
from pgen.engine.artifacts.weights import extra_state
from pgen.errors import ConfigError, PgenError, RunError, listed, one_line
from pgen.utils.files import write_through_memory
from pgen.utils.resources import is_out_of_memory
from pgen.utils.untrusted import load_torch

_NOT_ITS_FAULT = (errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE)


@dataclass
class Checkpoint:
    """The state of training after some steps.

    It has no random state: the generator of each step follows from the seed and the step.

    Attributes:
        step: Steps done.
        model: State dictionary of the model.
        optimizers: State dictionary of each optimiser.
        best: Step and error of the best checkpoint so far; None before there was one.
        average: State and number of updates of the exponential moving average, where there is one.
    """

    step: NonNegativeInt
    model: dict[str, Any]
    optimizers: dict[str, dict[str, Any]]
    best: tuple[int, float] | None = None
    average: dict[str, Any] | None = None

    @property
    def inference_state(self) -> dict[str, Any]:
        """State of the model for inference: the EMA, if there is one, with the model's extra state.

        (Earlier versions stored the extra state of the untrained model with the EMA.)
        """
        return {**self.average["model"], **extra_state(self.model)} if self.average else self.model

    @inference_state.setter
    def inference_state(self, state: dict[str, Any]) -> None:
        if self.average:
            self.average = {**self.average, "model": state}
        else:
            self.model = state


def path_of(folder: RunDirectory, step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return folder.checkpoints / f"step-{step:08d}.pt"


def steps(folder: RunDirectory) -> list[int]:
    """Return the steps that have a checkpoint, oldest first."""
    matches = (re.fullmatch(r"step-([0-9]+)\.pt", path.name) for path in folder.checkpoints.glob("step-*.pt"))
    return sorted(int(match[1]) for match in matches if match)


def save(folder: RunDirectory, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest ``keep`` and the best."""
    path = path_of(folder, checkpoint.step)
    write_through_memory(path, lambda stream: torch.save(asdict(checkpoint), stream), guard=folder.is_in_place)
    best = checkpoint.best[0] if checkpoint.best else None
    for old in steps(folder)[:-keep]:
        if old not in (best, checkpoint.step):
            path_of(folder, old).unlink()
    return path


def quarantine_corrupt(folder: RunDirectory) -> list[Path]:
    """Rename corrupt checkpoints newer than the newest readable one, so that they are not counted.

    Returns:
        Their new paths.
    """
    moved = []
    for step in reversed(steps(folder)):
        try:
            load(folder, step)
            break
        except PgenError:
            path = path_of(folder, step)
            moved.append(path.replace(path.with_name(path.name + ".broken")))
    return moved


def load(folder: RunDirectory, step: int | None = None) -> Checkpoint:
    """Load a checkpoint to the CPU.

    Args:
        folder: The run directory.
        step: Which; None for the newest that can be read.

    Raises:
        ConfigError: There is no checkpoint of this step.
        RunError: It cannot be read.
    """
    available = steps(folder)
    if step is not None and step not in available:
        raise ConfigError(f"{folder.path} has no checkpoint of step {step}; it has {listed(available)}.")
    for candidate in [step] if step is not None else reversed(available):
        try:
            return TypeAdapter(Checkpoint).validate_python(load_torch(path_of(folder, candidate)))
        except Exception as error:
            # Nothing is wrong with the file where memory is short, or the file system has a hiccup.
            if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _NOT_ITS_FAULT):
                raise
            if step is not None:
                raise RunError(f"{path_of(folder, candidate)} cannot be read ({one_line(error)}); use another `checkpoint`.") from error
    raise RunError(f"{folder.path} has no readable checkpoint in {folder.checkpoints}; start a new run.")


def best_step(errors: Mapping[int, float]) -> int | None:
    """Return the step with the smallest error on held-out data, the earliest among equals.

    Args:
        errors: Step of a checkpoint to its error; NaN and infinite errors are never the best.

    Returns:
        The step; None where no error is finite.
    """
    finite = {step: error for step, error in sorted(errors.items()) if math.isfinite(error)}
    return min(finite, key=lambda step: finite[step], default=None)
