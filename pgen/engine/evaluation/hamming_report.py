"""The Hamming test of images from sources, with a table, a figure and a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from pgen.data.images import FloatArray, read_all
from pgen.data.transforms.zero_suppression import suppress
from pgen.engine.evaluation.image_sources import ImageSource, describe_source, open_sources
from pgen.engine.evaluation.threshold import Threshold, choose_threshold
from pgen.engine.runtime.device import choose_device
from pgen.metrics.features.image_statistics import SetStatistics, compare_statistics
from pgen.metrics.memorisation.hamming import HammingResult, ThresholdResult, hamming
from pgen.report.figures.base import save_figure
from pgen.report.figures.hamming import plot_hamming
from pgen.report.figures.image_grid import plot_pairs
from pgen.report.report import Report
from pgen.report.report_directory import write_json
from pgen.report.tables import Table


@dataclass(frozen=True, repr=False)
class HammingReport(Report):
    """Results of the Hamming test.

    Attributes:
        sources: Name of a set -> where it comes from.
        result: The results at each threshold.
        statistics: Charge and occupancy of held-out, train and generated images, at each threshold.
        thresholds: The thresholds and their origin.
        pairs: The most suspicious pairs: generated (k, C, H, W) and training images (k, C, H, W).
        unit: Unit of charge.
    """

    sources: Mapping[str, str]
    result: HammingResult
    statistics: Sequence[Sequence[SetStatistics]]
    thresholds: Sequence[Threshold]
    pairs: tuple[FloatArray, FloatArray]
    unit: str
    kind: ClassVar[str] = "hamming.json"

    @property
    def warnings(self) -> list[str]:
        """What makes the comparison doubtful, one sentence each."""
        return [*(warning for threshold in self.thresholds for warning in threshold.warnings), *self.result.warnings]

    def tables(self) -> list[Table]:
        """Return a table of each threshold."""
        return [_tabulate(at, statistics) for at, statistics in zip(self.result.thresholds, self.statistics, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return what hamming.json stores."""
        return {
            "sources": dict(self.sources),
            **self.result.to_dict(),
            "threshold_notes": [threshold.note for threshold in self.thresholds],
            "warnings": self.warnings,
            "statistics": {
                f"{threshold.value:g}": [of_set.to_dict() for of_set in statistics]
                for threshold, statistics in zip(self.thresholds, self.statistics, strict=True)
            },
        }

    def write(self, folder: Path) -> None:
        """Write hamming.json, hamming.png and, if there are suspicious pairs, pairs.png."""
        save_figure(plot_hamming(self.result), folder / "hamming.png")
        files = ["hamming.png"]
        if pairs := self.result.thresholds[0].pairs:
            captions = [f"Jaccard {pair.jaccard:.2f}, Hamming {pair.hamming}" for pair in pairs]
            save_figure(plot_pairs(*self.pairs, captions, unit=self.unit), folder / "pairs.png")
            files.append("pairs.png")
        write_json(folder / "hamming.json", self.to_dict(), files)


def evaluate_hamming(
    generated: ImageSource,
    *,
    train: ImageSource,
    held_out: ImageSource,
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    data_root: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HammingReport:
    """Test whether generated images are copies of training images.

    That is, closer to training images than unseen real images are.

    Args:
        generated: Generated images.
        train: Images that the model was trained on.
        held_out: Real images that it has not seen.
        thresholds: |charge| at or below is 0 in all sets; None for the zero suppression of the
            images.
        seed: Seed of all random numbers.
        device: Where to compute.
        data_root: Folder in which source strings are looked up.
        progress: Called as ``progress(done, total)``.

    Raises:
        DataError: Sets cannot be read or compared.
    """
    place = choose_device(device) if isinstance(device, str) else device
    sources = {"held-out": held_out, "train": train, "generated": generated}
    sets = open_sources(sources, data_root=data_root)
    unit = sets["train"].unit
    suppression = {f"{name} images": images.zero_suppression for name, images in sets.items()}
    choices = [choose_threshold(value, suppression, unit) for value in (thresholds or (None,))]
    values = [choice.value for choice in choices]
    pixels = {name: read_all(images) for name, images in sets.items()}
    result = hamming(
        pixels["generated"],
        pixels["train"],
        pixels["held-out"],
        thresholds=values,
        seed=seed,
        device=place,
        progress=progress,
        labels={"generated": sets["generated"].labels, "held_out": sets["held-out"].labels},
    )
    statistics = [compare_statistics({name: suppress(images, value) for name, images in pixels.items()}, value) for value in values]
    pairs = result.thresholds[0].pairs
    return HammingReport(
        sources={name: describe_source(source, sets[name]) for name, source in sources.items()},
        result=result,
        statistics=statistics,
        thresholds=choices,
        pairs=(pixels["generated"][[pair.generated for pair in pairs]], pixels["train"][[pair.train for pair in pairs]]),
        unit=unit,
    )


def _tabulate(result: ThresholdResult, statistics: Sequence[SetStatistics]) -> Table:
    rows = []
    for name, distance in result.distances.items():
        test, near = distance.memorisation, distance.nearest
        medians = (f"{near[key].median:.3g}" for key in ("generated_to_train", "held_out_to_train"))
        rows.append((f"{name}: median distance to train", *medians))
        low, high = test.copy_interval
        rows.append((f"{name}: copy rate", f"{test.copy_rate:.2%} [{low:.2%}, {high:.2%}]", f"{test.null_rate:.2%}"))
        rows.append((f"{name}: Z against held-out", f"{test.z:.2f}", "0"))
    rows.append(("blank images", f"{result.blank_rate['generated']:.2%}", f"{result.blank_rate['held_out']:.2%}"))
    by_set = {of_set.name: of_set for of_set in statistics}
    is_signed = any(of_set.charge_mean != of_set.absolute_charge_mean for of_set in statistics)
    compared = [by_set["generated"], by_set["held-out"]]
    rows.append(("mean net charge" if is_signed else "mean charge", *(f"{of_set.charge_mean:.4g}" for of_set in compared)))
    if is_signed:
        rows.append(("mean |charge|", *(f"{of_set.absolute_charge_mean:.4g}" for of_set in compared)))
    rows.append(("occupancy", *(f"{of_set.occupancy_mean:.4f}" for of_set in compared)))
    groups = [
        (f"{name}: copy rate, {group.name}", f"{group.copy_rate:.2%} of {group.generated}", f"{group.null_rate:.2%} of {group.held_out}")
        for name, distance in result.distances.items()
        for group in distance.groups["occupancy"]
    ]
    return Table(("", "generated", "held-out (null)"), [rows, groups], title=f"threshold {result.threshold:g}")
