"""Closure of conditions: do images generated for a particle type or a momentum look like it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.labels import CLASSES, convert_labels, plain_labels
from pgen.errors import DataError, listed
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Measurement, MetricResult, PerSet
from pgen.metrics.significance import measure
from pgen.utils.text import shorten

#: A difference of accuracy, bias or width that does not matter.
TOLERANCE = 0.02


def closure(sets: EvaluationSets) -> MetricResult:
    """Predict each label by boosted trees that are trained on features of training images.

    For classes the measurement is the accuracy, for numbers the bias and the width of
    (estimate - truth) / truth. The floor is that of held-out images.

    Raises:
        DataError: No such label, or one has values that are not finite.
    """
    labels = _common_labels(sets)
    rng = sets.rng("closure")
    seed = int(rng.integers(2**31))
    measures: list[Measurement] = []
    kinds: dict[str, Any] = {}
    for name, rows in labels.items():
        is_class = _is_class(rows.train)
        predict = _train_trees(sets.features.train, rows.train, is_class, seed)
        generated, held_out = ((predict(getattr(sets.features, key)), getattr(rows, key)) for key in ("generated", "held_out"))
        kinds[name] = "class" if is_class else "number"
        # Trees that cannot split give every image the same label, and then right and wrong ones
        # score alike.
        is_constant = len(np.unique(predict(sets.features.train))) == 1
        unclear = f"trees could not learn the label from {len(rows.train)} training images; give more" if is_constant else ""
        add = partial(_measure_one_set, rng=rng, unclear=unclear, permutations=sets.permutations)
        if is_class:
            correct = [(estimate == truth).astype(float) for estimate, truth in (generated, held_out)]
            measures.append(add(f"{name} accuracy", correct, better="high", highest=1.0))
        else:
            errors = [(estimate - truth) / np.where(truth != 0, truth, np.nan) for estimate, truth in (generated, held_out)]
            measures.append(add(f"{name} bias", errors, statistic=lambda v: float(abs(np.nanmedian(v)))))
            measures.append(add(f"{name} width", errors, statistic=lambda v: float(np.subtract(*np.nanpercentile(v, [84, 16])) / 2)))
    return MetricResult("closure", tuple(measures), {"labels": kinds})


def _measure_one_set(name: str, rows: list[npt.NDArray], rng: np.random.Generator, statistic: Any = np.mean, **options: Any) -> Measurement:
    """Measure a statistic of the generated set, whose floor is that of the held-out set."""
    generated, held_out = rows
    # No distance of two sets: the second argument is not used.
    return measure(name, lambda a, b: float(statistic(a)), PerSet(generated, held_out, held_out), rng, tolerance=TOLERANCE, **options)


def _common_labels(sets: EvaluationSets) -> dict[str, PerSet]:
    """Return the labels that all sets have and that differ between training images.

    They are in the type of the training images' labels.
    """
    of_sets: Mapping[str, Mapping[str, npt.NDArray]] = sets.labels
    shared = set.intersection(*(set(of_sets.get(name, {})) for name in PerSet._fields))
    by_name = {name: PerSet(*(plain_labels(of_sets[key][name]) for key in PerSet._fields)) for name in sorted(shared)}
    usable = {
        name: _convert(name, rows)
        for name, rows in by_name.items()
        if all(values.ndim == 1 for values in rows) and _can_be_learnt(rows.train)
    }
    for name, rows in usable.items():
        for key, values in rows._asdict().items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                missing = np.count_nonzero(~np.isfinite(values))
                raise DataError(
                    f"closure: label {shorten(name)} of {key.replace('_', '-')} images has {missing} values that are not finite; leave "
                    "these images out."
                )
    if not usable:
        labels = "; ".join(f"{name.replace('_', '-')}: {listed(of_sets.get(name, {}))}" for name in PerSet._fields)
        raise DataError(f"closure needs a label that generated, train and held-out images all have, and that differs; found {labels}.")
    return usable


def _convert(name: str, rows: PerSet) -> PerSet:
    label = f"closure: label {shorten(name)} of"
    generated = convert_labels(rows.generated, rows.train, f"{label} generated images")
    return rows._replace(generated=generated, held_out=convert_labels(rows.held_out, rows.train, f"{label} held-out images"))


def _is_class(label: npt.NDArray) -> bool:
    return label.dtype.kind in "US" or len(np.unique(label)) <= CLASSES


def _can_be_learnt(label: npt.NDArray) -> bool:
    """Whether there are two different numbers, or two classes of several images."""
    counts = np.unique(label, return_counts=True)[1]
    return int((counts > 1).sum() if _is_class(label) else len(counts)) > 1


def _train_trees(features: npt.NDArray, label: npt.NDArray, is_class: bool, seed: int) -> Callable[[npt.NDArray], npt.NDArray]:
    """Train boosted trees; return their prediction of the label from features (n, D)."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if not is_class:
        return HistGradientBoostingRegressor(random_state=seed).fit(features, label).predict
    # Classes by their index, since they may be numbers that are not whole. Early stopping needs two
    # images of each class.
    classes, index, count = np.unique(label, return_inverse=True, return_counts=True)
    is_frequent = count[index] > 1
    trees = HistGradientBoostingClassifier(random_state=seed).fit(features[is_frequent], index[is_frequent])
    return lambda rows: classes[trees.predict(rows)]
