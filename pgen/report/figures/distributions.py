"""Figures of an evaluation: distributions, and measurements over checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgen.metrics.results import Histogram, Measurement, Profile
from pgen.report.figures.base import legend_label, new_figure
from pgen.utils.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Panels per row.
COLUMNS = 3
#: Larger ratios are drawn at the edge.
MAX_RATIO = 2.0


def plot_distributions(histograms: Mapping[str, Sequence[Histogram]]) -> Figure:
    """Plot the distribution of each quantity, with its ratio to held-out images below.

    Held-out images are filled, training images dashed. The vertical axis of charges is logarithmic.

    Args:
        histograms: Name of a generated set -> its histograms, of the same quantities in the same
            order.
    """
    first = next(iter(histograms.values()))
    figure, panels = _paired_panels(len(first))
    for k, (real, (above, below)) in enumerate(zip(first, panels, strict=True)):
        held_out, error = _normalise(real.counts.held_out)
        above.stairs(held_out, real.edges, fill=True, color="0.8", label="held-out")
        above.stairs(_normalise(real.counts.train)[0], real.edges, color="0.35", ls="--", lw=1, label="train")
        below.axhline(1, color="0.35", lw=0.8)
        with np.errstate(divide="ignore", invalid="ignore"):
            band = np.where(held_out > 0, error / held_out, np.nan)
            below.stairs(1 + band, real.edges, baseline=1 - band, fill=True, color="0.85")
            for number, (name, of_set) in enumerate(histograms.items()):
                # Bins follow the real images that a set was compared with; for sets of other sizes,
                # others were drawn.
                histogram = of_set[k]
                generated, reference = (_normalise(getattr(histogram.counts, key))[0] for key in ("generated", "held_out"))
                above.stairs(generated, histogram.edges, color=f"C{number}", lw=1.3, label=legend_label(name))
                quotient = np.clip(generated / np.where(reference > 0, reference, np.nan), 0, MAX_RATIO)
                below.stairs(quotient, histogram.edges, color=f"C{number}", lw=1.1)
        above.set_title(shorten(real.name), fontsize=9, loc="left")
        if real.is_charge:
            above.set_yscale("log")
        else:
            above.set_ylim(bottom=0)
        if k % COLUMNS == 0:
            above.set_ylabel("fraction", fontsize=8)
        below.set_xlabel(shorten(real.unit) or "number", fontsize=8)
    _add_legend(figure)
    return figure


def plot_profiles(profiles: Mapping[str, Sequence[Profile]]) -> Figure:
    """Plot mean profiles, with their ratio to held-out images below.

    Args:
        profiles: Name of a generated set -> its profiles, the same in the same order.
    """
    first = next(iter(profiles.values()))
    figure, panels = _paired_panels(len(first))
    for k, (real, (above, below)) in enumerate(zip(first, panels, strict=True)):
        x, held_out, error = real.x, real.means.held_out, real.errors.held_out
        above.fill_between(x, held_out - 2 * error, held_out + 2 * error, color="0.8", label="held-out")
        above.plot(x, real.means.train, color="0.35", ls="--", lw=1, label="train")
        below.axhline(1, color="0.35", lw=0.8)
        with np.errstate(divide="ignore", invalid="ignore"):
            band = 2 * error / held_out
            below.fill_between(x, 1 - band, 1 + band, color="0.85")
            for number, (name, of_set) in enumerate(profiles.items()):
                mean, spread = of_set[k].means.generated, 2 * of_set[k].errors.generated
                above.plot(x, mean, color=f"C{number}", lw=1.3, label=legend_label(name))
                above.fill_between(x, mean - spread, mean + spread, color=f"C{number}", alpha=0.2, lw=0)
                below.plot(x, np.clip(mean / of_set[k].means.held_out, 0, MAX_RATIO), color=f"C{number}", lw=1.1)
        above.set_title(shorten(real.name), fontsize=9, loc="left")
        above.set_ylabel(shorten(real.y_label), fontsize=8)
        above.set_ylim(bottom=min(0, above.get_ylim()[0]))
        below.set_xlabel(shorten(real.x_label), fontsize=8)
    _add_legend(figure)
    return figure


def _paired_panels(count: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Create a figure with pairs of panels, the lower of each for a ratio."""
    rows = -(-count // COLUMNS)
    figure = new_figure(4.2 * COLUMNS, 3.1 * rows + 0.4)
    grid = figure.add_gridspec(2 * rows, COLUMNS, height_ratios=[3, 1] * rows)
    pairs = []
    for k in range(count):
        row, column = divmod(k, COLUMNS)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
        above.tick_params(labelbottom=False, labelsize=7)
        below.tick_params(labelsize=7)
        below.set(ylim=(0, MAX_RATIO), yticks=(0, 1, MAX_RATIO))
        if column == 0:
            below.set_ylabel("ratio", fontsize=8)
        pairs.append((above, below))
    return figure, pairs


def _add_legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9, frameon=False)


def plot_trend(steps: Sequence[int], measurements: Mapping[str, Sequence[Measurement]]) -> Figure:
    """Plot measurements over the checkpoints of a run, with interval and floor.

    Args:
        steps: (K,) steps of the checkpoints.
        measurements: Name -> its measurement at each of them.
    """
    rows = -(-len(measurements) // COLUMNS)
    figure = new_figure(4.2 * COLUMNS, 2.3 * rows + 0.4)
    panels = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).flat
    for axes, (name, trend) in zip(panels, measurements.items(), strict=False):
        values, floors = ([getattr(point, key) for point in trend] for key in ("value", "floor"))
        low, high = zip(*(point.interval for point in trend), strict=True)
        axes.fill_between(steps, low, high, color="C0", alpha=0.2, lw=0)
        axes.plot(steps, values, "o-", ms=3, color="C0", label="generated")
        axes.plot(steps, floors, "--", color="0.4", lw=1, label="floor (train against held-out)")
        axes.set_title(shorten(name), fontsize=9, loc="left")
        axes.tick_params(labelsize=7, labelbottom=True)
        axes.grid(alpha=0.3)
    for axes in list(panels)[len(measurements) :]:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    return figure


def _normalise(counts: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return counts (B,) as fractions of their sum, and their Poisson errors."""
    total = max(1, counts.sum())
    return counts / total, np.sqrt(counts) / total
