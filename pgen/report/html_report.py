"""The report of an evaluation as one self-contained HTML page, from templates/report.html.j2."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pgen.metrics.results import CANNOT_BE_TOLD, Measurement
from pgen.metrics.runner import Evaluation
from pgen.report.browser import to_script
from pgen.report.figures.base import figure_to_png
from pgen.report.report_figures import ReportFigure
from pgen.report.summary import summarise
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from jinja2 import Template

#: Verdicts are not shown by colour only.
MARKS = {"as real": "✓", "worse": "✗", "beyond": "!", CANNOT_BE_TOLD: "?"}
WORDS = {"as real": "as real", "worse": "worse than real", "beyond": "beyond real", CANNOT_BE_TOLD: CANNOT_BE_TOLD}
#: Headings by the id of a section.
SECTIONS = {
    "summary": "In one sentence",
    "gallery": "Images",
    "browse": "Browse",
    "verdicts": "Measures",
    "distributions": "Distributions",
    "profiles": "Profiles",
    "highlights": "What gives images away",
    "suspicious": "Most suspicious pairs",
    "checkpoints": "Over checkpoints",
    "losses": "Training",
    "cost": "Cost",
    "compared": "What was compared",
    "details": "All measures",
    "settings": "Settings and versions",
}
#: Most characters of a cell and of a paragraph: a label can have any length.
CELL, PARAGRAPH = 120, 2000


def render_html(
    about: Mapping[str, Any],
    warnings: Sequence[str],
    evaluations: Sequence[Evaluation],
    figures: Mapping[str, Iterable[ReportFigure]],
    browser: Mapping[str, Any] | None = None,
) -> str:
    """Render the page.

    Args:
        about: Facts of the comparison, as in results.json.
        warnings: Sentences to show first.
        evaluations: One per generated set.
        figures: Id of a section -> its figures.
        browser: What gallery.js shows, see :func:`pgen.report.report_figures.browser_data`.
    """
    images = {section: [_embed(figure) for figure in of_section] for section, of_section in figures.items()}
    costs = {evaluation.name: evaluation.about["cost"] for evaluation in evaluations if "cost" in evaluation.about}
    shown = {"summary", "compared", "settings"} | {section for section, of_section in images.items() if of_section}
    shown |= {"verdicts", "details"} if any(evaluation.results for evaluation in evaluations) else set()
    shown |= {"browse"} if browser else set()
    shown |= {"cost"} if costs else set()
    settings = {
        evaluation.name: {**evaluation.about, "metrics": {name: dict(result.settings) for name, result in evaluation.results.items()}}
        for evaluation in evaluations
    }
    return _template().render(
        title=f"Evaluation of {', '.join(evaluation.name for evaluation in evaluations)}",
        sections={key: heading for key, heading in SECTIONS.items() if key in shown},
        about=about,
        warnings=warnings,
        evaluations=evaluations,
        comparison=_compare(evaluations),
        summaries=[(evaluation.name, summarise(evaluation)) for evaluation in evaluations],
        adjusted=[evaluation.adjusted_p_values() for evaluation in evaluations],
        browser=None if browser is None else to_script(browser),
        costs=costs,
        speeds=[f"images/s, {size} at a time" for size in next(iter(costs.values()), {"samples_per_second": ()})["samples_per_second"]],
        images=images,
        settings=json.dumps({**about, "generated": settings}, indent=2, default=str),
    )


def _compare(evaluations: Sequence[Evaluation]) -> list[tuple[tuple[str, str], list[Measurement | None]]]:
    """Return (metric, measure) of each headline, and its measurement of each set, if it has it."""
    by_set = [
        {(metric, m.name): m for metric, result in evaluation.results.items() for m in result.measures if m.headline}
        for evaluation in evaluations
    ]
    keys = dict.fromkeys(key for of_set in by_set for key in of_set)
    return [(key, [of_set.get(key) for of_set in by_set]) for key in keys]


def _embed(figure: ReportFigure) -> dict[str, str]:
    png = base64.b64encode(figure_to_png(figure.figure)).decode()
    return {"src": f"data:image/png;base64,{png}", "alt": figure.alt, "caption": figure.caption}


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def literal(value: Any) -> Any:
        """Replace control characters in all text; jinja then escapes it."""
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader("pgen.report"),
        autoescape=True,
        finalize=literal,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format,
        "cell": lambda value: shorten(str(value), CELL),
        "paragraph": lambda text: shorten(text, PARAGRAPH),
        "json": Markup,
        "lines": lambda text: escape(printable(text, keep="\n")),
        "name": shorten,
    }
    environment.globals |= {"MARKS": MARKS, "WORDS": WORDS}
    return environment.get_template("report.html.j2")
