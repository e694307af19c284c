"""The conditions of samples: values that a user sets, others from training labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pgen.data.formats.larcv.particle_labels import NAMES
from pgen.data.labels import convert_labels
from pgen.engine.dataloading.conditions import Labels, encode
from pgen.engine.runtime.progress import logger
from pgen.errors import ConfigError, listed, option
from pgen.plugins.specs import Condition


@dataclass(frozen=True)
class ConditionSampler:
    """Draws the labels of samples.

    A sample takes the labels of a random training image that has the classes that were set, but
    numbers that were set in place of that image's.

    Attributes:
        conditions: The conditions of the model.
        rows: Labels of the images to draw from, (M,) each.
        numbers: Label name to the number that was set.
    """

    conditions: tuple[Condition, ...]
    rows: Labels
    numbers: Mapping[str, float]

    @classmethod
    def from_training_labels(cls, conditions: tuple[Condition, ...], rows: Labels, values: Mapping[str, Any]) -> ConditionSampler:
        """Sample from training labels, with some conditions set.

        Numbers outside the training range are warned of.

        Args:
            conditions: The conditions of the model.
            rows: Labels of all training images.
            values: Condition name to value, as typed.

        Raises:
            ConfigError: A value that no condition can take, or a combination without a training
                image.
        """
        parsed = {condition.label: _parse(condition, str(values[condition.name])) for condition in conditions if condition.name in values}
        classes = [condition.label for condition in conditions if condition.classes and condition.label in parsed]
        matches = [convert_labels(rows[label], [parsed[label]], f"label {label}") == parsed[label] for label in classes]
        selected = np.all(matches, axis=0) if classes else slice(None)
        rows = {label: column[selected] for label, column in rows.items()}
        if not len(rows[conditions[0].label]):
            raise ConfigError(f"{_describe(values)}: no training image has this combination; choose one that occurs.")
        numbers = {label: value for label, value in parsed.items() if label not in classes}
        for condition in conditions:
            if condition.label in numbers:
                lowest, highest = rows[condition.label].min(), rows[condition.label].max()
                if not lowest <= numbers[condition.label] <= highest:
                    logger.warning(f"{_describe(values)}: training images like these had {condition.name} from {lowest:g} to {highest:g}")
        return cls(conditions, rows, numbers)

    @classmethod
    def from_values(cls, conditions: tuple[Condition, ...], values: Mapping[str, Any]) -> ConditionSampler:
        """Sample without training labels: every condition must be set.

        Raises:
            ConfigError: A condition is missing, or cannot take its value.
        """
        if missing := [option(condition.name) for condition in conditions if condition.name not in values]:
            raise ConfigError(f"{', '.join(missing)}: not set, and an exported program cannot draw it; set it, or name the run.")
        parsed = {condition.label: _parse(condition, str(values[condition.name])) for condition in conditions}
        rows = {label: np.array([value]) for label, value in parsed.items()}
        return cls(conditions, rows, {c.label: parsed[c.label] for c in conditions if not c.classes})

    def draw(self, n: int, generator: torch.Generator) -> tuple[dict[str, npt.NDArray], Tensor]:
        """Draw the labels of n samples, and their encoding (n, K) on the generator's device."""
        count = len(self.rows[self.conditions[0].label])
        index = torch.randint(count, (n,), generator=generator, device=generator.device).cpu().numpy()
        labels = {label: column[index] for label, column in self.rows.items()}
        labels.update({label: np.full(n, value) for label, value in self.numbers.items()})
        return labels, encode(self.conditions, labels).to(generator.device)


def _parse(condition: Condition, text: str) -> Any:
    if not condition.classes:
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not np.isfinite(number):
            raise ConfigError(f"{option(condition.name, text)}: expected a number, as {condition.example}.")
        return number
    classes: dict[str, Any] = {str(value): value for value in condition.classes}
    if condition.label == "pdg":
        classes.update({NAMES[value]: value for value in condition.classes if value in NAMES})  # type: ignore[index]
    if text not in classes and all(isinstance(value, int) for value in condition.classes):
        with suppress(ValueError, StopIteration):
            classes[text] = next(value for value in condition.classes if value == float(text))  # 1.0 is 1
    if text not in classes:
        raise ConfigError(f"{option(condition.name, text)}: the training images had none; expected one of {listed(classes, 12)}.")
    return classes[text]


def _describe(values: Mapping[str, Any]) -> str:
    return " ".join(option(name, value) for name, value in values.items())
