"""Files of an evaluation for programs: results.json and CSV, see docs/formats.md."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pgen.metrics.runner import Evaluation
from pgen.report.report_directory import write_json
from pgen.utils.files import atomic_write


def write_results(folder: Path, about: Mapping[str, Any], warnings: Sequence[str], evaluations: Sequence[Evaluation]) -> list[Path]:
    """Write results.json and a table per set into a folder with report.html."""
    tables = []
    for number, evaluation in enumerate(evaluations, 1):
        if columns := evaluation.per_image():
            tables.append(folder / ("images.csv" if len(evaluations) == 1 else f"images-{number}.csv"))
            with atomic_write(tables[-1]) as draft:
                _write_csv(draft, columns)
    path = folder / "results.json"
    write_json_results(path, about, warnings, evaluations, files=["report.html", *(table.name for table in tables)])
    return [path, *tables]


def write_json_results(
    path: Path, about: Mapping[str, Any], warnings: Sequence[str], evaluations: Sequence[Evaluation], files: Sequence[str]
) -> None:
    """Write results.json.

    Args:
        path: The file.
        about: Facts of the comparison.
        warnings: What makes it doubtful.
        evaluations: One per generated set.
        files: Names of the other files of the evaluation.
    """
    generated = {evaluation.name: evaluation.to_dict() for evaluation in evaluations}
    write_json(path, {**about, "warnings": list(warnings), "generated": generated}, files, kind="results.json")


def _write_csv(path: Path, columns: Mapping[str, npt.NDArray]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        table = csv.writer(stream)
        table.writerow(["image", *columns])
        for number, row in enumerate(zip(*columns.values(), strict=True)):
            table.writerow([number, *("" if isinstance(v, np.floating) and np.isnan(v) else f"{v:.6g}" for v in row)])
