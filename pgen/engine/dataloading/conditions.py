"""Conditions of a training: find, encode, save and load labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgen.data.formats.arrays import load_arrays
from pgen.data.labels import convert_labels, plain_labels
from pgen.errors import ConfigError, RunError, listed, option
from pgen.plugins.requests import SampleRequest
from pgen.plugins.specs import Condition
from pgen.utils.files import atomic_write

Labels = Mapping[str, npt.NDArray]

#: Names that `pgen sample` uses for its own options.
RESERVED_OPTION_NAMES = {*(field.name for field in fields(SampleRequest)), "source", "device", "help", "threads"} - {
    "conditions",
    "sampling",
}
#: Most different names, or whole numbers, that are classes.
MAX_CLASSES = 64


def find_conditions(names: str, labels: Labels, source: str) -> tuple[Condition, ...]:
    """Find the conditions of a training among the labels of its images.

    Args:
        names: As ``condition`` has them, separated by commas; ``type`` is the particle, by its
            label ``pdg``.
        labels: Label name to values, (N,) each.
        source: Name of the images, for messages.

    Raises:
        ConfigError: A name is no label, or a label that a model cannot be conditioned on.
    """
    conditions: list[Condition] = []
    problems: list[str] = []
    for name in names.split(","):
        label = "pdg" if name == "type" and name not in labels else name
        values = plain_labels(labels[label]) if label in labels else None
        if values is None:
            problems.append(f"{name or 'nothing'} is no label")
        elif not re.fullmatch(r"[A-Za-z]\w*", name) or name in RESERVED_OPTION_NAMES:
            problems.append(
                f"{name} cannot be an option of pgen sample: rename the label to letters, digits and _, unlike its other options"
            )
        elif values.ndim != 1:
            problems.append(f"{name} is {values.shape[1:]} numbers per image")
        elif len(distinct := np.unique(values)) < 2:
            problems.append(f"{name} is {distinct[0]} for all images")
        elif values.dtype.kind == "U" or _are_classes(values, distinct):
            if len(distinct) > MAX_CLASSES:
                problems.append(f"{name} has {len(distinct)} different names, more than {MAX_CLASSES}")
            classes = distinct.astype(np.int64) if distinct.dtype.kind == "f" else distinct
            conditions.append(Condition(name, label, tuple(classes.tolist())))
        elif not np.isfinite(values).all():
            problems.append(f"{name} is not finite for all images")
        else:
            conditions.append(Condition(name, label, mean=float(values.mean()), std=float(values.std())))
    if len({condition.label for condition in conditions}) < len(conditions):
        problems.append("one label is named twice")
    if problems:
        available = listed(labels, 12)
        message = f"{option('condition', names)}: {'; '.join(problems)}. The labels of {source} are: {available}; name some that differ."
        raise ConfigError(message)
    return tuple(conditions)


def _are_classes(values: npt.NDArray, distinct: npt.NDArray) -> bool:
    """Whether numbers are a few whole ones, in whatever type a file stores them.

    Floats must occur again and again, since a measured number may be whole by chance.
    """
    if len(distinct) > MAX_CLASSES or values.dtype.kind not in "iubf":
        return False
    is_whole = bool(np.isfinite(distinct).all() and (distinct == np.round(distinct)).all())
    return values.dtype.kind != "f" or (is_whole and 2 * len(distinct) <= len(values))


def encode(conditions: tuple[Condition, ...], labels: Labels) -> Tensor:
    """Encode the labels of n samples for a model, see :class:`pgen.plugins.specs.Condition`.

    Returns:
        (n, K) float32.
    """
    columns = []
    for condition in conditions:
        values = plain_labels(labels[condition.label])[:, None]
        if condition.classes or values.dtype.kind == "U":
            name = f"{option('condition')}: label {condition.label}"
            values = convert_labels(values, condition.classes or (condition.mean,), name)
        columns.append(values == np.array(condition.classes) if condition.classes else (values - condition.mean) / condition.std)
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def save_labels(path: Path, conditions: tuple[Condition, ...], labels: Labels) -> None:
    """Save the labels of the training images, from which those of samples are drawn."""
    with atomic_write(path) as draft, draft.open("wb") as stream:
        arrays: dict[str, Any] = {condition.label: plain_labels(labels[condition.label]) for condition in conditions}
        np.savez_compressed(stream, **arrays)


def load_labels(path: Path, conditions: tuple[Condition, ...]) -> dict[str, npt.NDArray]:
    """Load the labels that :func:`save_labels` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    if not path.is_file():
        raise RunError(f"{path} is missing, which holds the labels that samples are made for; restore the run folder from a copy.")
    arrays = load_arrays(path, str(path), "npz")
    names = [condition.label for condition in conditions]
    if sorted(arrays) != sorted(names) or len({array.shape for array in arrays.values()}) != 1:
        content = ", ".join(arrays) or "nothing"
        raise RunError(f"{path}: found {content}, expected as many values of {', '.join(names)}; restore the file.")
    return arrays
