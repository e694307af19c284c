"""Figure of the Hamming test: distributions of nearest-neighbour distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgen.metrics.memorisation.hamming import DistanceResult, HammingResult
from pgen.report.figures.base import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Distribution -> label, colour, line style.
_DISTRIBUTIONS = {
    "generated_to_train": ("generated → train", "C3", "-"),
    "held_out_to_train": ("held-out → train (null)", "C0", "-"),
    "train_to_train": ("train → rest of train", "0.4", "--"),
}
_BINS = 40
_UNITS = {"hamming": "Hamming distance [pixels]", "jaccard": "Jaccard distance"}


def plot_hamming(result: HammingResult) -> Figure:
    """Plot nearest-neighbour distances: one row per threshold, one column per distance."""
    figure = new_figure(10, 3.1 * len(result.thresholds) + 0.7)
    rows = figure.subplots(len(result.thresholds), 2, squeeze=False)
    for row, at in zip(rows, result.thresholds, strict=True):
        for axes, (name, distance) in zip(row, at.distances.items(), strict=True):
            edges = _bin_edges(distance, is_integer=name == "hamming")
            for key, (label, colour, style) in _DISTRIBUTIONS.items():
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
            test = distance.memorisation
            axes.axvline(test.cutoff, color="k", ls=":", lw=1, label="1 % quantile of the null")
            title = f"charge > {at.threshold:g}:  Z {test.z:+.1f},  copy rate {test.copy_rate:.1%} (null {test.null_rate:.1%})"
            axes.set_title(title, fontsize=9, loc="left")
            axes.set(xlabel=f"nearest {_UNITS[name]}", ylabel="fraction of images")
            axes.grid(alpha=0.3)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return figure


def _bin_edges(distance: DistanceResult, *, is_integer: bool) -> npt.NDArray:
    """Return bins for all distributions.

    For integer distances, each has the same number of integers.
    """
    top = max(distance.nearest[key].values.max() for key in _DISTRIBUTIONS)
    if is_integer:
        width = max(1, int(np.ceil((top + 1) / _BINS)))
        return np.arange(0, top + width + 1, width) - 0.5
    return np.linspace(0, 1, _BINS + 1)
