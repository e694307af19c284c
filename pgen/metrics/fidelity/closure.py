"""Closure of conditions: do images that were asked to be of a particle, or of a momentum, look like it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.data.labels import convert_labels, plain_labels
from pgen.errors import PgenError, listed
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.results import Measure, MetricResult, PerSet, measure
from pgen.utils.text import shorten

#: A label with at most so many different values is a class, another is a number to be estimated.
CLASSES = 12


def closure(sets: EvaluationSets) -> MetricResult:
    """For each label that all three sets have: boosted trees learn it from the features of training images, and judge generated and
    held-out ones. Of classes, the accuracy; of numbers, the bias and the width of estimate over truth. The floor is that of held-out
    images."""
    labels = _labels(sets)
    rng = sets.rng("closure")
    seed = int(rng.integers(2**31))
    measures: list[Measure] = []
    kinds: dict[str, Any] = {}
    for name, rows in labels.items():
        as_class = _is_class(rows.train)
        predict = _learnt(sets.features.train, rows.train, as_class, seed)
        generated, held_out = ((predict(getattr(sets.features, key)), getattr(rows, key)) for key in ("generated", "held_out"))
        kinds[name] = "class" if as_class else "number"
        # Trees that cannot split give every image the same label, and then right ones and wrong ones score alike.
        blind = len(np.unique(predict(sets.features.train))) == 1
        unclear = f"trees could not learn the label from {len(rows.train)} training images; give more" if blind else ""
        single = partial(_single, rng=rng, unclear=unclear)
        if as_class:
            right = [(estimate == truth).astype(float) for estimate, truth in (generated, held_out)]
            measures.append(single(f"{name} accuracy", right, better="high", highest=1.0))
        else:
            off = [(estimate - truth) / np.where(truth != 0, truth, np.nan) for estimate, truth in (generated, held_out)]
            measures.append(single(f"{name} bias", off, of=lambda v: float(abs(np.nanmedian(v)))))
            measures.append(single(f"{name} width", off, of=lambda v: float(np.subtract(*np.nanpercentile(v, [84, 16])) / 2)))
    return MetricResult("closure", tuple(measures), {"labels": kinds})


def _single(name: str, rows: list[npt.NDArray], rng: np.random.Generator, of: Any = np.mean, **options: Any) -> Measure:
    """A number of the generated set, whose floor is that of the held-out set: no distance of two sets, so the third is of no account."""
    generated, held_out = rows
    return measure(name, lambda a, b: float(of(a)), PerSet(generated, held_out, held_out), rng, **options)


def _labels(sets: EvaluationSets) -> dict[str, PerSet]:
    of_sets: Mapping[str, Mapping[str, npt.NDArray]] = sets.labels
    shared = set.intersection(*(set(of_sets.get(name, {})) for name in PerSet._fields))
    by_name = {name: PerSet(*(plain_labels(of_sets[key][name]) for key in PerSet._fields)) for name in sorted(shared)}
    validate_images = {
        name: _of_one_type(name, rows)
        for name, rows in by_name.items()
        if all(values.ndim == 1 for values in rows) and _differs(rows.train)
    }
    for name, rows in validate_images.items():
        for of_set, values in rows._asdict().items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                missing, of_set = np.count_nonzero(~np.isfinite(values)), of_set.replace("_", "-")
                raise PgenError(
                    f"closure: label {shorten(name)} of {of_set} images has {missing} values that are not finite; leave these images out."
                )
    if not validate_images:
        told = "; ".join(f"{name.replace('_', '-')}: {listed(of_sets.get(name, {}))}" for name in PerSet._fields)
        raise PgenError(f"closure needs a label that generated, train and held-out images all have, and that differs; found {told}.")
    return validate_images


def _of_one_type(name: str, rows: PerSet) -> PerSet:
    """The labels of all sets in the type of the training images'."""
    label = f"closure: label {shorten(name)} of"
    generated = convert_labels(rows.generated, rows.train, f"{label} generated images")
    return rows._replace(generated=generated, held_out=convert_labels(rows.held_out, rows.train, f"{label} held-out images"))


def _is_class(label: npt.NDArray) -> bool:
    return label.dtype.kind in "US" or len(np.unique(label)) <= CLASSES


def _differs(label: npt.NDArray) -> bool:
    """Whether there is something to learn: two numbers, or two classes of several images."""
    counts = np.unique(label, return_counts=True)[1]
    return int((counts > 1).sum() if _is_class(label) else len(counts)) > 1


def _learnt(features: npt.NDArray, label: npt.NDArray, as_class: bool, seed: int) -> Callable[[npt.NDArray], npt.NDArray]:
    """From features (n, D) to the label that boosted trees take them to have."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if not as_class:
        return HistGradientBoostingRegressor(random_state=seed).fit(features, label).predict
    # By their numbers, since classes may be numbers that are not whole. Of many images some are held back, of each class one at least.
    classes, number, count = np.unique(label, return_inverse=True, return_counts=True)
    often = count[number] > 1
    trees = HistGradientBoostingClassifier(random_state=seed).fit(features[often], number[often])
    return lambda rows: classes[trees.predict(rows)]
