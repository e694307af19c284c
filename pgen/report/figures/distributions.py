"""Distributions of physical quantities, with the ratio to held-out images below each; and how measures change over checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pgen.metrics.results import Histogram, Measure
from pgen.report.figures.base import legend_label, new_figure, save_figure
from pgen.utils.text import shorten

ACROSS = 3
#: Ratios beyond are drawn at the edge.
RATIO = 2.0


def save_distributions(path: str | os.PathLike[str], histograms: Mapping[str, Sequence[Histogram]]) -> None:
    """A panel for each quantity, all generated sets in it, beside held-out images (filled) and training images (dashed).

    histograms: name of a generated set -> its histograms, of the same quantities in the same order.
    """
    first = next(iter(histograms.values()))
    rows = -(-len(first) // ACROSS)
    figure = new_figure(4.2 * ACROSS, 2.9 * rows + 0.4)
    grid = figure.add_gridspec(2 * rows, ACROSS, height_ratios=[3, 1] * rows)
    for k, real in enumerate(first):
        row, column = divmod(k, ACROSS)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
        held_out, error = _shares(real.counts.held_out)
        above.stairs(held_out, real.edges, fill=True, color="0.8", label="held-out")
        above.stairs(_shares(real.counts.train)[0], real.edges, color="0.35", ls="--", lw=1, label="train")
        below.axhline(1, color="0.35", lw=0.8)
        with np.errstate(divide="ignore", invalid="ignore"):
            band = np.where(held_out > 0, error / held_out, np.nan)
            below.stairs(1 + band, real.edges, baseline=1 - band, fill=True, color="0.85")
            for number, (name, found) in enumerate(histograms.items()):
                # Bins go by the real images that a set was compared with: of sets of unequal size, others were drawn.
                shares, beside = (_shares(getattr(found[k].counts, key))[0] for key in ("generated", "held_out"))
                above.stairs(shares, found[k].edges, color=f"C{number}", lw=1.3, label=legend_label(name))
                below.stairs(np.clip(shares / np.where(beside > 0, beside, np.nan), 0, RATIO), found[k].edges, color=f"C{number}", lw=1.1)
        above.set_title(shorten(real.name) + (f" [{shorten(real.unit)}]" if real.unit else ""), fontsize=9, loc="left")
        above.tick_params(labelbottom=False, labelsize=7)
        above.set_ylim(bottom=0)
        below.tick_params(labelsize=7)
        below.set(ylim=(0, RATIO), yticks=(0, 1, RATIO))
        if column == 0:
            above.set_ylabel("share of images", fontsize=8)
            below.set_ylabel("ratio", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9, frameon=False)
    save_figure(figure, path)


def save_trend(path: str | os.PathLike[str], steps: Sequence[int], measures: Mapping[str, Sequence[Measure]]) -> None:
    """A panel for each measure: its value and interval at each of ``steps`` of a run, and its floor."""
    rows = -(-len(measures) // ACROSS)
    figure = new_figure(4.2 * ACROSS, 2.3 * rows + 0.4)
    panels = figure.subplots(rows, ACROSS, sharex=True, squeeze=False).flat
    for axes, (name, found) in zip(panels, measures.items(), strict=False):
        values, floors = ([getattr(each, key) for each in found] for key in ("value", "floor"))
        low, high = zip(*(each.interval for each in found), strict=True)
        axes.fill_between(steps, low, high, color="C0", alpha=0.2, lw=0)
        axes.plot(steps, values, "o-", ms=3, color="C0", label="generated")
        axes.plot(steps, floors, "--", color="0.4", lw=1, label="floor (train against held-out)")
        axes.set_title(shorten(name), fontsize=9, loc="left")
        axes.tick_params(labelsize=7, labelbottom=True)
        axes.grid(alpha=0.3)
    for axes in list(panels)[len(measures) :]:
        axes.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    save_figure(figure, path)


def _shares(counts: npt.NDArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Counts as shares of all, and their Poisson errors."""
    total = max(1, counts.sum())
    return counts / total, np.sqrt(counts) / total
