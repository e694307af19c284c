"""The distributions behind the Hamming test."""

from __future__ import annotations

import os

import numpy as np

from pgen.metrics.memorisation.hamming_result import DistanceResult, HammingResult
from pgen.report.figures.base import new_figure, save_figure

_SHOWN = {  # distribution -> label, colour, line style
    "generated_to_train": ("generated → train", "C3", "-"),
    "held_out_to_train": ("held-out → train (null)", "C0", "-"),
    "train_to_train": ("train → rest of train", "0.4", "--"),
}
_BINS = 40
_UNITS = {"hamming": "Hamming distance [pixels]", "jaccard": "Jaccard distance"}


def save_hamming(path: str | os.PathLike[str], result: HammingResult) -> None:
    """Nearest-neighbour distances, a row for each threshold: Hamming on the left, Jaccard on the right."""
    figure = new_figure(10, 3.1 * len(result.thresholds) + 0.7)
    rows = figure.subplots(len(result.thresholds), 2, squeeze=False)
    for row, at in zip(rows, result.thresholds, strict=True):
        for axes, (name, distance) in zip(row, at.distances.items(), strict=True):
            edges = _edges(distance, whole=name == "hamming")
            for key, (label, colour, style) in _SHOWN.items():
                values = distance.nearest[key].values
                axes.hist(
                    values,
                    edges,
                    weights=np.full(len(values), 1 / len(values)),
                    histtype="step",
                    color=colour,
                    ls=style,
                    lw=1.5,
                    label=label,
                )
            found = distance.memorisation
            axes.axvline(found.cutoff, color="k", ls=":", lw=1, label="1 % quantile of the null")
            title = f"charge > {at.threshold:g}:  Z {found.z:+.1f},  copy rate {found.copy_rate:.1%} (null {found.null_rate:.1%})"
            axes.set_title(title, fontsize=9, loc="left")
            axes.set(xlabel=f"nearest {_UNITS[name]}", ylabel="share of images")
            axes.grid(alpha=0.3)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    save_figure(figure, path)


def _edges(distance: DistanceResult, *, whole: bool) -> np.ndarray:
    """Bins for all that is shown; of whole numbers, the same number of them in each bin."""
    top = max(distance.nearest[key].values.max() for key in _SHOWN)
    if whole:
        width = max(1, int(np.ceil((top + 1) / _BINS)))
        return np.arange(0, top + width + 1, width) - 0.5
    return np.linspace(0, 1, _BINS + 1)
