"""Figures of training: loss curves, reconstruction error and histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pgen.errors import DataError
from pgen.report.figures.base import legend_label, new_figure
from pgen.utils.text import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What records may count by, the finer first.
_AXES = ("step", "epoch")
_NOT_PLOTTED = (*_AXES, "samples_per_second")
#: Curves with as many points are smoothed.
_SMOOTH_FROM = 50

Record = Mapping[str, Any]


def plot_losses(runs: Mapping[str, Sequence[Record]]) -> Figure:
    """Plot the training curves of one or more runs, with one panel per scalar.

    Args:
        runs: Name of the run -> its records in order, as in metrics.jsonl: a "step" or an "epoch",
            and scalar values by name.

    Raises:
        DataError: No record has a step or epoch and a number.
    """
    x_name = next((axis for axis in _AXES if any(axis in record for records in runs.values() for record in records)), None)
    quantities = list(
        dict.fromkeys(
            name
            for records in runs.values()
            for record in records
            for name, value in record.items()
            if name not in _NOT_PLOTTED and isinstance(value, (int, float)) and not isinstance(value, bool)
        )
    )
    if x_name is None or not quantities:
        raise DataError(f"losses of {', '.join(runs) or 'no run'}: no record has a step or epoch and a number; train for longer.")

    columns = 1 if len(quantities) == 1 else 2
    rows = -(-len(quantities) // columns)
    figure = new_figure(6 * columns, 2.6 * rows + 0.8)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
    for axes, quantity in zip(panels, quantities, strict=False):
        values = []
        for colour, records in enumerate(runs.values()):
            points = np.array([(r[x_name], r[quantity]) for r in records if x_name in r and r.get(quantity) is not None], dtype=float)
            points = points.reshape(-1, 2)[np.isfinite(points.reshape(-1, 2)).all(1)]
            values.append(points[:, 1])
            _plot_curve(axes, points[:, 0], points[:, 1], f"C{colour}")
        if _spans_decades(np.concatenate(values)):
            axes.set_yscale("log")
        axes.set_title(shorten(quantity), fontsize=10, loc="left")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    for axes in panels:
        axes.set_visible(False)
    figure.supxlabel(x_name, fontsize=10)
    labels = list(map(legend_label, runs))
    handles = [figure.axes[0].plot([], [], color=f"C{i}", label=label)[0] for i, label in enumerate(labels)]
    ncols = max(1, int(figure.get_figwidth() / (0.6 + 0.09 * max(map(len, labels)))))  # as many names as fit, in inches
    figure.legend(handles=handles, loc="outside upper center", ncols=ncols, fontsize=9, frameon=False)
    return figure


def plot_reconstruction_error(
    steps: Sequence[int],
    train_mse: Sequence[float],
    held_out_mse: Sequence[float],
    *,
    chosen: int | None = None,
    predict_zero_mse: float | None = None,
    unit: str = "ADC",
) -> Figure:
    """Plot the reconstruction error of checkpoints.

    Args:
        steps: (K,) steps of the checkpoints.
        train_mse: (K,) on training images.
        held_out_mse: (K,) on held-out images.
        chosen: Step to mark as the one to use.
        predict_zero_mse: Error of blank images, to mark.
        unit: Unit of charge.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.plot(steps, train_mse, "o-", ms=4, label="train")
    axes.plot(steps, held_out_mse, "s-", ms=4, label="held-out")
    values = np.array([*train_mse, *held_out_mse], dtype=float)
    if predict_zero_mse is not None:
        axes.axhline(predict_zero_mse, color="0.4", ls="--", lw=1, label="blank images")
        values = np.append(values, predict_zero_mse)
    if chosen is not None:
        axes.axvline(chosen, color="C2", ls=":", lw=1.5, label=f"chosen: step {chosen:,}")
    if _spans_decades(values):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=f"mean squared error [{shorten(unit)}²]")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return figure


def plot_histogram(counts: npt.ArrayLike, title: str, xlabel: str) -> Figure:
    """Plot how often each number occurs among (N,) ``counts``, such as the hits of each target.

    Raises:
        DataError: There are no counts.
    """
    counts = np.asarray(counts)
    if not counts.size:
        raise DataError(f"{title}: expected one count per target, got none.")
    top = float(counts.max())
    low = float(counts.min()) if counts.min() > top / 2 else 0.0
    width = max(1, int(np.ceil((top - low + 1) / 60)))  # a whole number, so that all bars hold as many values
    edges = np.arange(low, top + width + 1, width) - 0.5
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.hist(counts, list(edges), color="C0", alpha=0.8, label=f"mean {counts.mean():,.4g}, none in {(counts == 0).mean():.1%}")
    axes.set_title(shorten(title), fontsize=11, loc="left")
    axes.set(xlabel=xlabel, ylabel="number")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _plot_curve(axes: Any, x: npt.NDArray, y: npt.NDArray, colour: str) -> None:
    """Plot a curve; a long one as its running mean, with the points pale behind it."""
    if len(x) < _SMOOTH_FROM:
        axes.plot(x, y, color=colour, lw=1.3, marker="." if len(x) < 20 else None)
        return
    axes.plot(x, y, color=colour, lw=0.7, alpha=0.25)
    axes.plot(x, _running_mean(y, max(5, len(y) // 50)), color=colour, lw=1.5)


def _running_mean(y: npt.NDArray, window: int) -> npt.NDArray:
    """Return the mean over ``window`` points around each point, over fewer near the ends."""
    kernel = np.ones(window)
    return np.convolve(y, kernel, "same") / np.convolve(np.ones_like(y), kernel, "same")


def _spans_decades(values: npt.NDArray) -> bool:
    """Whether a log scale helps: positive values, the bulk over more than a factor of 20."""
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and np.quantile(values, 0.99) > 20 * np.quantile(values, 0.01))
