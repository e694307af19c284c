"""The report of an evaluation, as a page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgen.data.images import FloatArray
from pgen.metrics.inputs import EvaluationSets
from pgen.metrics.memorisation.nearest_neighbours import binarise, nearest
from pgen.metrics.results import CANNOT_BE_TOLD, Measure
from pgen.metrics.runner import Evaluation
from pgen.report import html_elements as page
from pgen.report.figures.curves import save_losses
from pgen.report.figures.distributions import save_distributions, save_trend
from pgen.report.figures.image_grid import save_pairs, save_rows
from pgen.report.results_files import write_results
from pgen.utils.files import atomic_write
from pgen.utils.text import shorten

SHOWN = 10  #: images a row of the gallery
MARKS = {"as real": "✓", "worse": "✗", "beyond": "!", CANNOT_BE_TOLD: "?"}  # not by colour alone
WORDS = {"as real": "as real", "worse": "worse than real", "beyond": "beyond real", CANNOT_BE_TOLD: CANNOT_BE_TOLD}


@dataclass(frozen=True)
class Gallery:
    """Images of one generated set to look at: (n, C, H, W) each."""

    generated: FloatArray
    nearest: FloatArray
    pairs: tuple[FloatArray, FloatArray, tuple[str, ...]] | None

    @classmethod
    def of(cls, sets: EvaluationSets, evaluation: Evaluation) -> Gallery:
        """The first images and the training images nearest to them by Jaccard, and the most suspicious pairs, if these were looked for."""
        shown = sets.generated[:SHOWN]
        train = binarise(sets.train, sets.threshold, sets.device)
        index = nearest(binarise(shown, sets.threshold, sets.device), train).index["jaccard"]
        found = [pair for finding in evaluation.results.values() for pair in finding.pairs]
        pairs = None
        if found:
            generated, real, captions = zip(*found, strict=True)
            pairs = (sets.generated[list(generated)], sets.train[list(real)], tuple(captions))
        return cls(shown.copy(), sets.train[index], pairs)


@dataclass(frozen=True)
class Report:
    """All that a report says.

    about: facts of the comparison, as plain values. warnings: to be told first. losses: records of the runs among the generated sets, by
    name. steps: of each generated set that is a checkpoint, its step. galleries: None of a set that could not be compared.
    """

    about: Mapping[str, Any]
    warnings: Sequence[str]
    unit: str
    real: FloatArray
    evaluations: Sequence[Evaluation]
    galleries: Sequence[Gallery | None]
    losses: Mapping[str, Sequence[Mapping[str, Any]]]
    steps: Sequence[int | None]

    def write(self, out: Path) -> list[Path]:
        """Into the folder ``out``: report.html, results.json, and a CSV file for each generated set. The files written."""
        path = out / "report.html"
        with atomic_write(path) as draft, tempfile.TemporaryDirectory(dir=draft.parent) as pictures:
            draft.write_text(self._html(Path(pictures)), encoding="utf-8")
        return [path, *write_results(out, self.about, self.warnings, self.evaluations)]

    def _html(self, pictures: Path) -> str:
        names = ", ".join(each.name for each in self.evaluations)
        sections = [("compared", "What was compared", self._dataset_table())]
        sections.append(("verdicts", "Verdicts", self._verdicts()))
        if len(self.evaluations) > 1:
            sections.append(("comparison", "Side by side", self._side_by_side()))
        sections.append(("gallery", "Images", self._images(pictures)))
        for key, heading, html in (
            ("cost", "Cost", self._cost()),
            ("distributions", "Distributions", self._distributions(pictures)),
            ("checkpoints", "Over checkpoints", self._trend(pictures)),
            ("losses", "Training", self._losses(pictures)),
            ("suspicious", "Most suspicious pairs", self._pairs(pictures)),
        ):
            if html:
                sections.append((key, heading, html))
        sections.append(("settings", "Settings and versions", self._settings()))
        return page.page(f"Evaluation of {names}", sections)

    def _dataset_table(self) -> str:
        warnings = "".join(page.paragraph(warning, "warning") for warning in self.warnings)
        rows = [
            (name, each["source"], str(each["images"]), "x".join(map(str, each["shape"])), each["unit"], each["fingerprint"][:12])
            for name, each in self.about["sets"].items()
        ]
        rows += [
            (each.name, str(each.about["source"]), str(each.about["images"]), "x".join(map(str, each.about["shape"])), each.about["unit"],
             str(each.about["fingerprint"])[:12])
            for each in self.evaluations
        ]  # fmt: skip
        threshold = str(self.about["threshold_note"])
        return (
            warnings
            + page.table(("set", "source", "images", "shape", "unit", "fingerprint"), rows)
            + page.paragraph(threshold + " Of each metric the floor is what as many training images have against held-out images.", "soft")
        )

    def _verdicts(self) -> str:
        html = page.paragraph(
            "As real: the 95 % interval of the value covers the floor. Beyond real: closer to held-out images than training images are, "
            "which points to images that are too dim, too smooth, or copied, and is no success. Cannot be told: neither likeness nor a "
            "difference is shown.", "soft"
        )  # fmt: skip
        for each in self.evaluations:
            html += page.subheading(each.name)
            for finding in each.results.values():
                html += "".join(page.paragraph(warning, "warning") for warning in finding.warnings)
            if each.results:
                html += _measures_table(each, headline=True)
                unclear = each.unclear().items()
                html += "".join(page.paragraph(f"Cannot be told: {', '.join(map(shorten, names))}: {why}.") for why, names in unclear)
                html += "".join(page.paragraph(note) for finding in each.results.values() for note in finding.notes)
                html += page.folded("All measures", _measures_table(each, headline=None))
            if each.skipped:
                # What one sentence says of several metrics is said once.
                reasons = {why: [name for name, found in each.skipped.items() if found == why] for why in each.skipped.values()}
                told = "".join(page.paragraph(f"{', '.join(names)}: {why}") for why, names in reasons.items())
                html += page.folded("Not asked", told) if each.results else told
        return html

    def _side_by_side(self) -> str:
        measures = dict.fromkeys(
            (metric, m.name) for each in self.evaluations for metric, f in each.results.items() for m in f.measures if m.headline
        )
        rows: list[list[page.Cell]] = []
        for metric, name in measures:
            row: list[page.Cell] = [name]
            for each in self.evaluations:
                found = next((m for m in each.results[metric].measures if m.name == name), None) if metric in each.results else None
                told = f"{found.value:.4g} {MARKS[found.verdict]} ({found.floor:.4g})" if found else ""
                row.append((told, found.value, found.verdict.replace(" ", "-")) if found else "")
            rows.append(row)
        note = page.paragraph("In brackets the floor, which depends on how many images a set has.", "soft")
        return note + page.table(("measure", *(each.name for each in self.evaluations)), rows)

    def _cost(self) -> str:
        costs = {each.name: each.about["cost"] for each in self.evaluations if "cost" in each.about}
        if not costs:
            return ""
        batches = list(next(iter(costs.values()))["samples_per_second"])
        rows: list[list[page.Cell]] = []
        for name, cost in costs.items():
            step = cost["seconds_per_step"]
            speeds = cost["samples_per_second"].values()
            rows.append(
                [
                    name,
                    (f"{cost['parameters']:,}", cost["parameters"], ""),
                    (f"{cost['decoder_parameters']:,}", cost["decoder_parameters"], ""),
                    (f"{step:.3g} s" if step else "", step or 0, ""),
                    *((f"{speed:,.0f}", speed, "") for speed in speeds),
                    (f"{cost['peak_memory'] / 2**30:.2f} GiB", cost["peak_memory"], ""),
                    cost["device"],
                ]
            )
        head = ("", "parameters", "of a decoder", "training step", *(f"images/s, {size} at a time" for size in batches), "memory", "device")
        return page.table(head, rows)

    def _images(self, pictures: Path) -> str:
        html = ""
        for number, (each, gallery) in enumerate(zip(self.evaluations, self.galleries, strict=True)):
            if gallery is None:
                continue
            path = pictures / f"gallery-{number}.png"
            rows = {"held-out": self.real, "generated": gallery.generated, "nearest in train": gallery.nearest}
            save_rows(path, rows, unit=self.unit)
            html += page.picture(
                path,
                f"Three rows of images on one charge scale: held-out, generated by {each.name}, and the training image nearest to each.",
                f"{each.name}: drawn without choice; nearest by Jaccard distance of lit pixels.",
            )
        return html

    def _distributions(self, pictures: Path) -> str:
        found = {each.name: [h for f in each.results.values() for h in f.histograms] for each in self.evaluations}
        found = {name: histograms for name, histograms in found.items() if histograms}
        if not found:
            return ""
        save_distributions(pictures / "distributions.png", found)
        alt = "Histograms of physical quantities of generated, held-out and training images, with their ratio to held-out images below."
        return page.picture(pictures / "distributions.png", alt, "Below each: ratio to held-out images; the band is their Poisson error.")

    def _trend(self, pictures: Path) -> str:
        every = zip(self.steps, self.evaluations, strict=True)
        of_run = [(step, each) for step, each in every if step is not None and each.results]  # an early one may be blank
        if len({step for step, _ in of_run}) < 2 or len({str(each.about["source"]) for _, each in of_run}) > 1:
            return ""
        measures: dict[str, list[Measure]] = {}
        for _, each in of_run:
            for finding in each.results.values():
                for found in finding.measures:
                    if found.headline:
                        measures.setdefault(found.name, []).append(found)
        complete = {name: found for name, found in measures.items() if len(found) == len(of_run)}
        if not complete:
            return ""
        save_trend(pictures / "trend.png", [step for step, _ in of_run], complete)
        return page.picture(pictures / "trend.png", "Each measure at each checkpoint, with its 95 % interval and its floor.")

    def _losses(self, pictures: Path) -> str:
        if not any(self.losses.values()):
            return ""
        save_losses(pictures / "losses.png", self.losses)
        return page.picture(pictures / "losses.png", "Training curves of the runs.")

    def _pairs(self, pictures: Path) -> str:
        html = ""
        for number, (each, gallery) in enumerate(zip(self.evaluations, self.galleries, strict=True)):
            if gallery and gallery.pairs:
                path = pictures / f"pairs-{number}.png"
                save_pairs(path, *gallery.pairs, unit=self.unit)
                html += page.picture(path, f"Pairs of an image of {each.name} and the training image that it is nearest to.", each.name)
        return html

    def _settings(self) -> str:
        settings = {
            each.name: {**each.about, "metrics": {n: dict(f.settings) for n, f in each.results.items()}} for each in self.evaluations
        }
        return page.code(json.dumps({**self.about, "generated": settings}, indent=2, default=str))


def _measures_table(each: Evaluation, *, headline: bool | None) -> str:
    rows: list[list[page.Cell]] = []
    for metric, finding in each.results.items():
        for found in finding.measures:
            if headline in (None, found.headline):
                low, high = found.interval
                rows.append(
                    [
                        found.name,
                        (f"{MARKS[found.verdict]} {WORDS[found.verdict]}", found.verdict, found.verdict.replace(" ", "-")),
                        (f"{found.value:.4g}", found.value, ""),
                        (f"{found.floor:.4g}", found.floor, ""),
                        (f"{low:.4g} to {high:.4g}", low, ""),
                        str(found.n),
                        metric,
                    ]
                )
    return page.table(("measure", "verdict", "value", "floor", "95 % interval", "n", "metric"), rows)
