"""Labels that samples are made for: found in the training data, encoded for the model, asked for by a user, drawn for a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgen.data.formats.arrays import load_arrays
from pgen.data.formats.larcv.particle_labels import NAMES
from pgen.data.labels import convert_labels, plain_labels
from pgen.errors import PgenError, listed, option_name
from pgen.plugins.requests import SampleRequest
from pgen.plugins.specs import Condition
from pgen.utils.files import atomic_write

Labels = Mapping[str, npt.NDArray]

#: What the options of `pgen sample` are called.
RESERVED_OPTION_NAMES = {*(field.name for field in fields(SampleRequest)), "source", "device", "help"}
#: Names, or whole numbers, of at most so many values are classes.
MOST_CLASSES = 64


def find_conditions(wanted: str, labels: Labels, source: str) -> tuple[Condition, ...]:
    """The conditions that ``--condition`` names, with commas between, among the labels of the images of ``source``. ``type`` is the
    particle, by its label ``pdg``. UserError for all that cannot be used."""
    names, found, wrong = wanted.split(","), [], []
    for name in names:
        label = "pdg" if name == "type" and name not in labels else name
        values = plain_labels(labels[label]) if label in labels else None
        if values is None:
            wrong.append(f"{name or 'nothing'} is no label")
        elif not re.fullmatch(r"[A-Za-z]\w*", name) or name in RESERVED_OPTION_NAMES:
            wrong.append(f"{name} cannot be an option of pgen sample: rename the label to letters, digits and _, unlike its other options")
        elif values.ndim != 1:
            wrong.append(f"{name} is {values.shape[1:]} numbers an image")
        elif len(different := np.unique(values)) < 2:
            wrong.append(f"{name} is {different[0]} for all images")
        elif values.dtype.kind == "U" or _are_classes(values, different):
            if len(different) > MOST_CLASSES:
                wrong.append(f"{name} has {len(different)} different names, more than {MOST_CLASSES}")
            classes = different.astype(np.int64) if different.dtype.kind == "f" else different
            found.append(Condition(name, label, tuple(classes.tolist())))
        elif not np.isfinite(values).all():
            wrong.append(f"{name} is not finite for all images")
        else:
            found.append(Condition(name, label, mean=float(values.mean()), std=float(values.std())))
    if len({condition.label for condition in found}) < len(found):
        wrong.append("one label is named twice")
    if wrong:
        usable = listed(labels, 12)
        raise PgenError(f"--condition {wanted}: {'; '.join(wrong)}. The labels of {source} are: {usable}; name some that differ.")
    return tuple(found)


def _are_classes(values: npt.NDArray, different: npt.NDArray) -> bool:
    """Whether numbers are few whole ones, in whatever type a file keeps them. Of floats they must occur again and again, since a measured
    number may be whole by chance."""
    if len(different) > MOST_CLASSES or values.dtype.kind not in "iubf":
        return False
    is_whole = bool(np.isfinite(different).all() and (different == np.round(different)).all())
    return values.dtype.kind != "f" or (is_whole and 2 * len(different) <= len(values))


def encode(conditions: tuple[Condition, ...], labels: Labels) -> Tensor:
    """(n, K) float32: what a model is told of n labels of each condition, see :class:`pgen.plugins.specs.Condition`."""
    columns = []
    for condition in conditions:
        values = plain_labels(labels[condition.label])[:, None]
        if condition.classes or values.dtype.kind == "U":
            values = convert_labels(values, condition.classes or (condition.mean,), f"--condition: label {condition.label}")
        columns.append(values == np.array(condition.classes) if condition.classes else (values - condition.mean) / condition.std)
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


def save_labels(path: Path, conditions: tuple[Condition, ...], labels: Labels) -> None:
    """Keep the training images' labels, of which those of samples are drawn."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        arrays: dict[str, Any] = {condition.label: plain_labels(labels[condition.label]) for condition in conditions}
        np.savez_compressed(stream, **arrays)


def load_labels(path: Path, conditions: tuple[Condition, ...]) -> dict[str, npt.NDArray]:
    """What :func:`save_labels` kept. UserError where it is damaged or gone."""
    if not path.is_file():
        raise PgenError(f"{path} is missing, which holds the labels that samples are made for; restore the run folder from a copy.")
    arrays = load_arrays(path, str(path), "npz")
    wanted = [condition.label for condition in conditions]
    if sorted(arrays) != sorted(wanted) or len({array.shape for array in arrays.values()}) != 1:
        raise PgenError(f"{path}: found {', '.join(arrays) or 'nothing'}, wanted as many values of {', '.join(wanted)}; restore the file.")
    return arrays


@dataclass(frozen=True)
class ConditionSampler:
    """What samples are made for. Each takes the labels of a random one of ``rows``, the training images with the classes asked for; numbers
    that were asked for stand in place of theirs."""

    conditions: tuple[Condition, ...]
    rows: Labels
    numbers: Mapping[str, float]

    @classmethod
    def of(cls, conditions: tuple[Condition, ...], rows: Labels, given: Mapping[str, str], warn: Callable[[str], None]) -> ConditionSampler:
        """given: name of a condition to the value asked for, as it was typed. UserError for what no condition can be."""
        read = {condition.label: _read(condition, given[condition.name]) for condition in conditions if condition.name in given}
        classes = [condition.label for condition in conditions if condition.classes and condition.label in read]
        same = [convert_labels(rows[label], [read[label]], f"label {label}") == read[label] for label in classes]
        fitting = np.all(same, axis=0) if classes else slice(None)
        kept = {label: values[fitting] for label, values in rows.items()}
        if not len(kept[conditions[0].label]):
            raise PgenError(f"{_told(given)}: no training image was of all of these; ask for what there was.")
        numbers = {label: value for label, value in read.items() if label not in classes}
        for condition in conditions:
            if condition.label in numbers:
                least, most = kept[condition.label].min(), kept[condition.label].max()
                if not least <= numbers[condition.label] <= most:
                    warn(f"warning: {_told(given)}: training images like these had {condition.name} from {least:g} to {most:g}")
        return cls(conditions, kept, numbers)

    @classmethod
    def from_values(cls, conditions: tuple[Condition, ...], given: Mapping[str, str]) -> ConditionSampler:
        """Where there are no training images: UserError unless every condition is given."""
        if missing := [option_name(condition.name) for condition in conditions if condition.name not in given]:
            raise PgenError(f"{', '.join(missing)}: not given, and an exported program cannot draw it; give it, or name the run.")
        return cls.of(conditions, {c.label: np.array([_read(c, given[c.name])]) for c in conditions}, given, lambda text: None)

    def draw(self, n: int, generator: torch.Generator) -> tuple[dict[str, npt.NDArray], Tensor]:
        """Labels of n samples, and what the model is told of them, (n, K) on the generator's device."""
        count = len(self.rows[self.conditions[0].label])
        index = torch.randint(count, (n,), generator=generator, device=generator.device).cpu().numpy()
        labels = {label: values[index] for label, values in self.rows.items()}
        labels.update({label: np.full(n, value) for label, value in self.numbers.items()})
        return labels, encode(self.conditions, labels).to(generator.device)


def _read(condition: Condition, text: str) -> Any:
    if not condition.classes:
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise PgenError(f"{option_name(condition.name)} {text}: wanted a number, as {condition.example}.")
        return value
    known: dict[str, Any] = {str(value): value for value in condition.classes}
    if condition.label == "pdg":
        known.update({NAMES[value]: value for value in condition.classes if value in NAMES})  # type: ignore[index]
    if text not in known and all(isinstance(value, int) for value in condition.classes):
        with suppress(ValueError, StopIteration):
            known[text] = next(value for value in condition.classes if value == float(text))  # 1.0 is 1
    if text not in known:
        raise PgenError(f"{option_name(condition.name)} {text}: the training images had none; wanted one of {listed(known, 12)}.")
    return known[text]


def _told(given: Mapping[str, str]) -> str:
    return " ".join(f"{option_name(name)} {value}" for name, value in given.items())
