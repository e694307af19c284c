"""EvaluationReport: the results of an evaluation, as scores, as a table, and as files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pgen.data.images import FloatArray
from pgen.errors import ConfigError
from pgen.metrics.results import MetricResult
from pgen.metrics.runner import Evaluation
from pgen.report import report_figures
from pgen.report.html_report import render_html
from pgen.report.report import Report
from pgen.report.report_figures import Gallery
from pgen.report.results_files import write_json_results, write_results
from pgen.report.tables import Table
from pgen.utils.files import atomic_write, refuse_existing
from pgen.utils.text import shorten

if TYPE_CHECKING:
    import pandas


class Score(NamedTuple):
    """One measurement of one generated set.

    Attributes:
        generated: Name of the generated set.
        metric: Name of the metric.
        measure: What is measured.
        value: Generated against held-out images.
        low: Lower end of the 95 % interval.
        high: Upper end.
        floor: Training against held-out images: the score of a perfect model.
        verdict: "as real", "worse", "beyond" or "cannot be told".
        n: Images of each set.
        headline: Whether it is one to look at first.
        p_value: Probability of such a value for real images.
        p_holm: The same after Holm's method over the headline scores of the set, else NaN.
        tolerance: Largest difference between value and floor that does not matter.
        images_needed: About how many images of each set would settle a verdict that cannot be told.
    """

    generated: str
    metric: str
    measure: str
    value: float
    low: float
    high: float
    floor: float
    verdict: str
    n: int
    headline: bool
    p_value: float
    p_holm: float
    tolerance: float
    images_needed: int | None


@dataclass(frozen=True, repr=False)
class EvaluationReport(Report):
    """Results of an evaluation of one or more generated sets.

    Attributes:
        about: Facts of the comparison, as plain values.
        warnings: What makes the comparison doubtful, one sentence each.
        unit: Unit of charge.
        real: (n, C, H, W) held-out images to show, drawn at random.
        evaluations: Results of each generated set.
        galleries: Images of each set to show; None for a set that could not be compared.
        losses: Name of a run -> its training records.
        steps: Training step of each set that is a checkpoint, else None.
    """

    about: Mapping[str, Any]
    warnings: Sequence[str]
    unit: str
    real: FloatArray
    evaluations: Sequence[Evaluation]
    galleries: Sequence[Gallery | None]
    losses: Mapping[str, Sequence[Mapping[str, Any]]]
    steps: Sequence[int | None]
    kind: ClassVar[str] = "results.json"

    def __getitem__(self, name: str) -> Evaluation:
        """Return the results of the generated set ``name``."""
        return {evaluation.name: evaluation for evaluation in self.evaluations}[name]

    @property
    def results(self) -> Mapping[str, MetricResult]:
        """Metric name -> result, if there is one generated set.

        Raises:
            ConfigError: There are several sets: index the report by the name of one first.
        """
        if len(self.evaluations) > 1:
            names = ", ".join(repr(evaluation.name) for evaluation in self.evaluations)
            raise ConfigError(f"This report has several generated sets; choose one of {names}, as in report[name].results.")
        return self.evaluations[0].results

    @cached_property
    def scores(self) -> list[Score]:
        """All measurements of all generated sets."""
        scores = []
        for evaluation in self.evaluations:
            adjusted = evaluation.adjusted_p_values()
            for metric, result in evaluation.results.items():
                for m in result.measures:
                    score = Score(
                        generated=evaluation.name,
                        metric=metric,
                        measure=m.name,
                        value=m.value,
                        low=m.interval[0],
                        high=m.interval[1],
                        floor=m.floor,
                        verdict=m.verdict,
                        n=m.n,
                        headline=m.headline,
                        p_value=m.p_value,
                        p_holm=adjusted.get((metric, m.name), math.nan),
                        tolerance=m.tolerance,
                        images_needed=m.images_needed,
                    )
                    scores.append(score)
        return scores

    def to_frame(self) -> pandas.DataFrame:
        """Return the scores as a data frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError("to_frame needs pandas, which is not installed; add it with: pip install 'pgen-lartpc[notebook]'.") from error
        return pandas.DataFrame(self.scores, columns=Score._fields)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write the report.

        Args:
            path: A name that ends in .html for the page, in .json for the numbers, or a folder for
                both and a table of the generated images.
            overwrite: Whether an earlier report may be replaced.

        Returns:
            The files written.

        Raises:
            ConfigError: ``path`` exists and may not be replaced, or has another ending.
        """
        target = Path(path)
        if not target.suffix or target.is_dir():
            return super().save(target, overwrite=overwrite)
        if target.suffix not in (".html", ".json"):
            raise ConfigError(f"{target}: a report cannot be written as {target.suffix}; use .html, .json, or the name of a folder.")
        refuse_existing(target, overwrite=overwrite)
        if target.suffix == ".html":
            self._write_html(target)
        else:
            write_json_results(target, self.about, self.warnings, self.evaluations, files=[])
        return [target]

    def write(self, folder: Path) -> list[Path]:
        """Write report.html, results.json and a CSV file per generated set into a folder."""
        page = folder / "report.html"
        self._write_html(page)
        return [page, *write_results(folder, self.about, self.warnings, self.evaluations)]

    def tables(self) -> list[Table]:
        """Return the headline scores of each generated set."""
        return [self.table(evaluation.name) for evaluation in self.evaluations]

    def table(self, name: str) -> Table:
        """Return the headline scores of the generated set ``name``."""
        sections = [
            [
                (shorten(s.measure), f"{s.value:.4g}", f"{s.floor:.4g}", f"{s.low:.3g} to {s.high:.3g}", f"{s.p_value:.3f}", s.verdict)
                for s in self.scores
                if s.generated == name and s.metric == metric and s.headline
            ]
            for metric in self[name].results
        ]
        return Table(("", "value", "floor", "95 % interval", "p", ""), sections, title=shorten(name))

    def _write_html(self, path: Path) -> None:
        galleries = {
            evaluation.name: gallery for evaluation, gallery in zip(self.evaluations, self.galleries, strict=True) if gallery is not None
        }
        figures = {
            "gallery": report_figures.gallery_figures(self.real, galleries, self.unit),
            "distributions": report_figures.distribution_figures(self.evaluations),
            "profiles": report_figures.profile_figures(self.evaluations),
            "highlights": report_figures.highlight_figures(galleries, self.unit),
            "checkpoints": report_figures.trend_figures(self.steps, self.evaluations),
            "losses": report_figures.loss_figures(self.losses),
            "suspicious": report_figures.pair_figures(galleries, self.unit),
        }
        browser = report_figures.browser_data(self.real, galleries, self.evaluations, self.unit) if galleries else None
        page = render_html(self.about, self.warnings, self.evaluations, figures, browser)
        with atomic_write(path) as draft:
            draft.write_text(page, encoding="utf-8")
